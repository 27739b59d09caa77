"""Trained model versions: loading one, publishing it, fetching it from remote storage."""
