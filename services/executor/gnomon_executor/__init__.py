"""The executor: takes work that is due, runs its handler, and records one result for it."""
