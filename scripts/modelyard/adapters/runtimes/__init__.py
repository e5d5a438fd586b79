"""Runtimes: the environments that models train and serve in, by the digest of their lock."""
