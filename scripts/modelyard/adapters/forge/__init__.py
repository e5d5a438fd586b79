"""The forge: pull requests, their checks and their approvals."""
