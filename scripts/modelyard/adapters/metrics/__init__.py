"""Serving counts: scraped from local servers, or asked of Prometheus."""
