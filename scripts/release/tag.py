"""Makes the tag of a release of the main branch, with the credentials of the tool.

`make tag` runs it with the variable TAG, in the workflow that a person starts. The tag then starts
the workflow that publishes.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

from modelyard.errors import Refused, YardError
from modelyard.operations.hosted_forges import refuse_other_account
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import services_for

TAG = re.compile(r"v(?:0|[1-9]\d{0,3})(?:\.(?:0|[1-9]\d{0,3})){2}", re.ASCII)
PROJECT = "pyproject.toml"
CHANGES = "CHANGELOG.md"


def main() -> int:
    """Make the tag, and print of which commit."""
    tag = os.environ.get("TAG", "")
    if not TAG.fullmatch(tag):
        print(f"error: {tag!r} is no tag of a release; hint: TAG=v1.2.0", file=sys.stderr)
        return 2
    try:
        # Git signs in as the account of modelyard.yaml once its adapters are made.
        services = services_for(Path.cwd())
        refuse_other_account(services)
        workspace = workspace_of(services)
        commit = workspace.main()
        check_version(tag, workspace.git.read_file(commit, PROJECT))
        check_changes(tag, workspace.git.read_file(commit, CHANGES))
        remote = workspace.services.repository.remote
        workspace.git.push(remote, {f"refs/tags/{tag}": (None, commit)})
    except YardError as error:
        hint = f"; hint: {error.hint}" if error.hint else ""
        print(f"error: {tag}: {error.message}{hint}", file=sys.stderr)
        return error.exit_code
    print(f"{tag} is of {commit}")
    return 0


def check_version(tag: str, project: bytes) -> None:
    """Raise `Refused` unless the tag, which nobody can delete, names the version of the package."""
    version = tomllib.loads(project.decode())["project"]["version"]
    if tag != f"v{version}":
        raise Refused(
            f"{PROJECT} of the main branch has the version {version}",
            hint=f"TAG=v{version}, or merge a change of the version first",
        )


def check_changes(tag: str, changes: bytes) -> None:
    """Raise `Refused` unless the newest section of the changes, which are published, is of it."""
    newest = re.search(r"^## (.+)$", changes.decode(errors="replace"), re.MULTILINE)
    heading = newest[1].strip() if newest else ""
    if not re.fullmatch(rf"{re.escape(tag[1:])} - \d{{4}}-\d\d-\d\d", heading):
        raise Refused(
            f"the newest section of {CHANGES} of the main branch is {heading!r}",
            hint=f"merge a change of it to '{tag[1:]} - YEAR-MONTH-DAY' first",
        )


if __name__ == "__main__":
    sys.exit(main())
