"""The api: HTTP, and the read side (projector, archive, read models in Postgres)."""
