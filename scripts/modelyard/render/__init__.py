"""Renders a release to the Kubernetes documents that run it; pure."""
