"""The events of listeners: the durable store, and how another process reads it."""
