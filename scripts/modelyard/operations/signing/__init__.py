"""Signing what training made, and asking whether it was signed."""
