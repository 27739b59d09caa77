"""Segments of listeners and the event autoencoder, as jobs on a library."""
