"""Specs and other documents: YAML and JSON to dataclasses and back."""
