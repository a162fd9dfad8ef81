"""Imported by the stem of the api: what every api imports and reckons when it starts, whatever its settings.

Its document of itself is made of the code alone, and the web framework imports what it finds at its first application.
"""

from litestar import Litestar

from gnomon_api.app import document_of

document_of("")
Litestar([], openapi_config=None, logging_config=None)
