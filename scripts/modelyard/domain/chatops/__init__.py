"""Commands that people write into comments of pull requests, and what is decided about them."""
