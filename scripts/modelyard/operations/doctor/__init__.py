"""Checks that everything needed is in place."""
