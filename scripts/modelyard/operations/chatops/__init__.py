"""Does what people command in comments of pull requests."""
