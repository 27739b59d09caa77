"""One reader for each format of listening log."""
