"""What answers are made from: a loaded library and model version, replaced while requests go on."""
