"""The steps of a training workflow, one a module; files travel through the artifact store."""
