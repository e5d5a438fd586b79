"""Whether new data has moved away from the training data, and what follows."""
