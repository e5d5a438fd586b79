"""Workflows: run by Argo, or on this machine."""
