"""Pure rules that several processes must agree on: no I/O, no clock, no randomness of their own."""
