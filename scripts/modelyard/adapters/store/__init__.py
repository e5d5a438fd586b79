"""The artifact store, the model registry, and the tables they hold."""
