"""Serving counts: scraped from local servers, or read from Prometheus; and replayed requests."""
