"""The model server: what it loads, what it accepts, what it counts and what it writes down."""
