"""HTTP: recommendations, similar tracks, events and the page."""
