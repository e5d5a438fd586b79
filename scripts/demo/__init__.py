"""The demo: the whole path of a version, played on real data."""
