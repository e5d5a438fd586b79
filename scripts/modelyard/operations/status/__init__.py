"""What runs where, and what everything else waits for."""
