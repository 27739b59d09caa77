"""From audio files to embeddings and genre probabilities in the library, in parallel and resumable."""
