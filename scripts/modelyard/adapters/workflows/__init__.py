"""Workflows: run by Argo, or walked on this machine."""
