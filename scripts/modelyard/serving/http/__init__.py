"""Requests over HTTP: connections, bodies, and the routes that answer them."""
