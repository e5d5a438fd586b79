"""Counters of one release at each sample, as a table."""
