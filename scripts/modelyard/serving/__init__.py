"""The model server: loads a verified artifact, answers requests, counts and logs them."""
