"""Audio encoders: from a clip's windows to embeddings and tags."""
