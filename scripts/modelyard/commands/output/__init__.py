"""How answers are printed: tables, pages and references."""
