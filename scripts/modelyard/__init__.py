"""modelyard: a Git repository that is a machine-learning delivery platform."""
