"""A synthetic world of listeners and music with a known truth, and the demo's synthesiser."""
