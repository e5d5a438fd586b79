"""`python -m modelyard` is `modelyard`."""

from __future__ import annotations

import sys

from modelyard.cli import main

if __name__ == "__main__":
    sys.exit(main())
