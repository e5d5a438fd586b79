"""What a new model may look like, guessed from a table of its data."""
