"""Trained model versions: loading one and keeping it up to date, publishing it, fetching it from remote storage."""
