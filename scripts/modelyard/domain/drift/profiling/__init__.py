"""Builds the drift profile of training data from parts of its rows, in any order."""
