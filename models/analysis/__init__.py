"""Looking at listeners and tracks: segments, projections to two dimensions, odd events."""
