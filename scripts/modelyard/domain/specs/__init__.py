"""What the YAML files of a checkout say, as frozen dataclasses."""
