"""Compares a feed with the training data, and proposes the next version."""
