"""Facts: what was observed in the world and written down, in Git."""
