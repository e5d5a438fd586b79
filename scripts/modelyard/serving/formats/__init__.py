"""What opening a model does: its format, found from its files and not from what they claim."""
