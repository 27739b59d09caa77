"""Crossfade hears a music library and learns its listeners."""
