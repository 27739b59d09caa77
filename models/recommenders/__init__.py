"""Recommenders, one module each, behind one interface, and the registry of their names."""
