"""The report: one HTML page about a library, its listeners and its models."""
