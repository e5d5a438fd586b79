"""The second look: relations, clocks and repeated values, which single columns do not show."""
