"""Recommenders, one module each, behind one interface, and the registry that knows them by name."""
