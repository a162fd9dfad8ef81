"""Reference pages that need the services to be made: the command line, the environment, metrics, the HTTP API.

Pages of the contract (subjects, messages, events, problems) are written by `python -m gnomon_schemas.generate`.
"""
