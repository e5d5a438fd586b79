"""The YAML files of a checkout as frozen dataclasses."""
