"""`crossfade evaluate`: many models, one protocol, one table."""
