"""Counts of rows that the judge compares."""
