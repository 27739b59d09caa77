"""Segments of listeners, projections to two dimensions, an autoencoder of single events."""
