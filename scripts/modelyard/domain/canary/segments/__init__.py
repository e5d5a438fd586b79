"""Segments: rows of one level of a declared column, whose predictions are judged apart."""
