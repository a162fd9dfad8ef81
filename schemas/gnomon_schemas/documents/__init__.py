"""The contract as documents: JSON Schema, AsyncAPI and reference pages, made from the Structs and the subjects.

`messages` lists every message, `channels` every subject, `field_rules` what the types alone do not say; the other
modules turn them into documents. Nothing here runs in a service.
"""
