"""Numbers to knowledge: encoders, genres, recommenders, priors, indexes, metrics. Arrays in, arrays out."""
