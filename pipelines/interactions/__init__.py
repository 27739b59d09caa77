"""Listening logs: reading, one schema, cleaning, statistics, and the events of a running service."""
