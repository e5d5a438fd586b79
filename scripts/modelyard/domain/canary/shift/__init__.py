"""Shift: how the bets against expected predictions are counted."""
