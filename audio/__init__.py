"""Sound to numbers: decoding, windows, log-mel, tempo, key, loudness, descriptors."""
