"""What `make` does for a release."""
