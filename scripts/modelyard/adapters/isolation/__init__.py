"""Closes a command in: what it may reach, what it may use, and that all of it ends."""
