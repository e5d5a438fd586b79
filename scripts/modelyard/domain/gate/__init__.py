"""The gate: whether a challenger is worse than the champion on held-out rows."""
