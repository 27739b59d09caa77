"""The hybrid: the content prior crossfaded with ALS, its options and their tuning, its index, online user profiles."""
