"""`python -m modelyard` is `modelyard`."""

from __future__ import annotations

from modelyard.cli import run

if __name__ == "__main__":
    run()
