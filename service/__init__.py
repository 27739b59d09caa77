"""HTTP: recommendations, similar tracks, uploads, events and the page."""
