"""Read models in Postgres: what the events say, as rows. Written by the projector alone, from events."""
