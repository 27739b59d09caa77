"""`crossfade train`: from a library to a model version and its offline artefacts."""
