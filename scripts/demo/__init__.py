"""The demo: the whole path of a version, on real data."""
