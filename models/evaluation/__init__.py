"""How good recommendations are: splits, metrics and bootstrap intervals."""
