"""Processes on this machine: starts, follows and stops them."""
