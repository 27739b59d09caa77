"""Answers from a library: similar tracks, recommendations, explanations, search by text."""
