"""The runtimes of models: scoring in them, locking and removing them."""
