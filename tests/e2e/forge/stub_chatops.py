"""As much of `modelyard chatops` as its workflow can be tested with, and a record of each call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

CALLS = "MODELYARD_E2E_CALLS"
TOKEN = "MODELYARD_FORGE_TOKEN"
"""The tool's own, from a secret: a job's token may not ask what others may do."""


def main(arguments: list[str]) -> None:
    """Acknowledge the command of a person who may write; everything else is only recorded."""
    environment = os.environ
    event = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_bytes())
    with httpx.Client(
        base_url=f"{environment['GITHUB_API_URL']}/repos/{environment['GITHUB_REPOSITORY']}/",
        headers={"Authorization": f"token {environment[TOKEN]}"},
    ) as forge:
        call = {
            "arguments": arguments,
            "comment": event["comment"]["body"],
            "ref": environment["GITHUB_REF"],
            "checked_out": said("git", "rev-parse", "HEAD"),
            "secrets": sorted(name for name in environment if name.startswith("MODELYARD_FORGE")),
            "credentials_left": "extraheader" in said("git", "config", "--list"),
        }
        if arguments == ["chatops", "ack"] and may_write(forge, event["sender"]["login"]):
            path = f"issues/comments/{event['comment']['id']}/reactions"
            forge.post(path, json={"content": "eyes"}).raise_for_status()
            with Path(environment["GITHUB_OUTPUT"]).open("a") as outputs:
                outputs.write("environment=dev\n")
    names = Path(environment[CALLS])
    (names / f"{len(list(names.iterdir()))}.json").write_text(json.dumps(call))


def may_write(forge: httpx.Client, login: str) -> bool:
    answer = forge.get(f"collaborators/{login}/permission")
    return answer.is_success and answer.json()["permission"] in {"write", "admin", "owner"}


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1:])
