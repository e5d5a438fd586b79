"""Arms held against what they should predict, and what a broken stable release does to that."""
