"""The artifact store, the model registry, signatures, and Evidently's report."""
