"""Training in an image that is older than the platform."""
