"""Processes of this machine: started, found again, and ended."""
