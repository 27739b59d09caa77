"""`crossfade genres` and `tag`: labelled audio, ways to learn genres, their evaluation, tags in files."""
