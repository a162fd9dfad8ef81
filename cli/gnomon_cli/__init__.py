"""The command `gnomon`: runs Gnomon on one machine, starts its processes in production, and speaks to its
HTTP API.
"""
