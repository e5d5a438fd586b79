"""All input and output: files, git, the forge, the facts, processes and metrics."""
