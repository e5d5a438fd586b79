"""Gitea, and Forgejo."""
