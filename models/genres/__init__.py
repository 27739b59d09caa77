"""Genre classification: vocabularies, classifiers, their training, calibration and metrics."""
