"""Charts, interactive for the report and static as PNG."""
