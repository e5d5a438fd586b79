"""The fake's Git, which is real: a bare repository, and smart HTTP in front of it."""
