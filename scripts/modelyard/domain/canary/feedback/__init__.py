"""Feedback: labels that arrive later, and what they say of the canary's quality beside stable's."""
