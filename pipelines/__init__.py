"""Jobs from files to files: the library, listening logs, embedding, training, evaluation, the command line."""
