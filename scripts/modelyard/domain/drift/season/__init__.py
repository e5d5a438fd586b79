"""Seasons: what the training data knows of a year, so that a window meets its own season."""
