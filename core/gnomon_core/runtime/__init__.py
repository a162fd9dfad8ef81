"""Connections, loops and settings: what a running Gnomon process is made of."""
