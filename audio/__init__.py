"""Sound to numbers: decoding, windows, log-mel, descriptors."""
