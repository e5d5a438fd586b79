"""CSV files as text, in parts: what is in memory does not grow with the file."""
