"""Arrays to knowledge: encoders, genres, recommenders, the hybrid, ranking, metrics. Files only in save and load."""
