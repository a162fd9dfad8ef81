"""Reference pages of what the services share: the command line, the environment, metrics.

Pages of the contract are written by `python -m gnomon_schemas.generate`, the HTTP document by
`python -m gnomon_api.reference`.
"""
