"""What drift watches of a version, and what it cannot."""
