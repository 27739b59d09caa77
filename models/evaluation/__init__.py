"""How good recommendations are: splits, metrics, groups of listeners and tracks, and bootstrap intervals."""
