"""The checks of `modelyard doctor`."""
