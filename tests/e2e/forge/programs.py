"""Gitea, its runner and act, built into the cache of the cluster's programs."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from e2e.cluster.layout import default_layout
from e2e.go_programs import Source, build_program, find_obstacle
from possible import exit_if_possible

_PROGRAMS = Path(__file__).resolve().parent / "programs"
_GITEA = "code.gitea.io/gitea"
# What Gitea reads at run time. Its pages' scripts are not in the module; the API needs none.
_STATIC = ("options", "public", "templates")


def _copy_static_files(work: Path) -> None:
    """Put the files that Gitea reads beside the program, out of the module cache."""
    command = ["go", "mod", "download", "-json", _GITEA]
    output = subprocess.run(command, cwd=work, capture_output=True, check=True).stdout
    module = Path(json.loads(output)["Dir"])
    static = work.with_name("static")
    shutil.rmtree(static, ignore_errors=True)
    for name in _STATIC:
        shutil.copytree(module / name, static / name, copy_function=shutil.copyfile)
        for path in (static / name, *(static / name).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


GITEA = Source(
    folder=_PROGRAMS / "gitea",
    packages={"gitea": _GITEA},
    flags="-X main.Version=1.26.2",
    tags="sqlite sqlite_unlock_notify",
    cgo=True,
    prepare=_copy_static_files,
)
RUNNER = Source(folder=_PROGRAMS / "runner", packages={"runner": "gitea.com/gitea/runner"})
ACT = Source(folder=_PROGRAMS / "act", packages={"act": "github.com/nektos/act"})


@cache
def program(source: Source) -> Path:
    """The one program of a source, built when it is missing."""
    (name,) = source.packages
    return build_program(source, name, default_layout().cache)


def _main(verb: str) -> None:
    """`build` what is missing, or say whether that is `possible`."""
    sources = (GITEA, RUNNER, ACT)
    if verb == "possible":
        cache = default_layout().cache
        obstacles = filter(None, (find_obstacle(each, cache) for each in sources))
        exit_if_possible("tests on a Gitea", next(obstacles, None))
    for each in sources:
        program(each)


if __name__ == "__main__":
    _main(sys.argv[1])
