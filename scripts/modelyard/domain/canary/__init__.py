"""The judge: whether a canary is worse than the stable release in traffic."""
