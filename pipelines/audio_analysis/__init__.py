"""One audio file analysed: embedding, genre probabilities, moods, tempo, key and loudness."""
