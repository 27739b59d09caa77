"""Answers from a library: similar tracks, duplicates, recommendations, explanations, search by text."""
