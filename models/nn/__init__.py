"""What every network shares: the training loop and its checkpoints."""
