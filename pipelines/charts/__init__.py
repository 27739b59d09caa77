"""Charts: one description of a picture, drawn in a page by Vega-Lite and saved as PNG by the same library."""
