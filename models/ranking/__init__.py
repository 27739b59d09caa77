"""Two-stage ranking: candidate generators, features, the ranker, and re-ranking for diversity."""
