"""The hybrid: the content prior crossfaded with ALS, its tuning, its index, and live fold-in."""
