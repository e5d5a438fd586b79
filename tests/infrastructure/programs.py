"""OpenTofu and a provider that knows only schemas, built into the cluster's cache."""

import os
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from e2e.cluster.layout import default_layout
from e2e.go_programs import Source, build_program, find_obstacle
from possible import exit_if_possible

_HERE = Path(__file__).resolve().parent

OPENTOFU = Source(
    folder=_HERE / "programs/opentofu",
    packages={"tofu": "github.com/opentofu/opentofu/cmd/tofu"},
    # Else it calls itself a version before 1.12.6.
    flags="-X github.com/opentofu/opentofu/version.dev=no",
)
PROVIDER = Source(folder=_HERE / "programs/provider", packages={"terraform-provider-aws": "."})


@cache
def program(source: Source) -> Path:
    """The one program of a source, built when it is missing."""
    (name,) = source.packages
    return build_program(source, name, default_layout().cache)


def _main(verb: str) -> None:
    """`build` what is missing, or say whether that is `possible`."""
    # Another OpenTofu and the real provider take their place.
    replaced = {OPENTOFU: "INFRASTRUCTURE_TOFU", PROVIDER: "INFRASTRUCTURE_PROVIDER"}
    sources = [source for source, name in replaced.items() if name not in os.environ]
    if verb == "possible":
        cache = default_layout().cache
        obstacles = filter(None, (find_obstacle(each, cache) for each in sources))
        exit_if_possible("tests with OpenTofu", next(obstacles, None))
    for each in sources:
        program(each)


if __name__ == "__main__":
    _main(sys.argv[1])
