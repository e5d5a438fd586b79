"""Copies of answered requests, which a canary answers too, unseen by their callers."""
