"""Recommenders that are neural networks: what they share, and one module each; they need torch."""
