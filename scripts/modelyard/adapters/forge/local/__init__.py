"""A forge in a bare Git repository: pull requests are documents in refs."""
