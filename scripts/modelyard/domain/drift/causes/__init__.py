"""What drift looks like where it is a fault of the data."""
