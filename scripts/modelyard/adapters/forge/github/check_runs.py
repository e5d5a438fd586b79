"""Check runs of GitHub, which show the problems of a pull request at their lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from modelyard.adapters.forge.hosted.api import ForgeApi
from modelyard.adapters.forge.hosted.dialect import Json
from modelyard.domain.harmless_text import escape_markdown
from modelyard.domain.problem import Problem

NAME = "modelyard/findings"
"""Not a required one: `modelyard/checks` is, and it is a status."""

MOST_ANNOTATIONS = 10
"""More of them hide the code on the page; the others are in the summary."""

LONGEST_SUMMARY = 60_000
"""GitHub takes 65,535 characters."""


def show_problems(
    api: ForgeApi, place: str, head: str, problems: Sequence[Problem], *, app: str
) -> None:
    """Show the problems of a commit; the same again changes nothing.

    Args:
        api: The API.
        place: The repository's path in it.
        head: The commit.
        problems: What is wrong with it, the worst first.
        app: The slug of the App that the tool is.
    """
    found = api.get(f"{place}/commits/{head}/check-runs", check_name=NAME, filter="latest")
    mine = [row for row in found["check_runs"] if (row["app"] or {}).get("slug") == app]
    output = _output(problems)
    key = hashlib.sha256(json.dumps(output, sort_keys=True).encode()).hexdigest()
    shown = mine[0]["external_id"] if mine else None
    if shown == key or (shown is None and not problems):
        return
    body = {
        "name": NAME,
        "head_sha": head,
        "status": "completed",
        "conclusion": "failure" if problems else "success",
        "external_id": key,
        "output": output,
    }
    # A new one each time: annotations cannot be taken back. GitHub shows the newest of a name.
    api.send("POST", f"{place}/check-runs", body)


def _output(problems: Sequence[Problem]) -> Json:
    placed = [each for each in problems if each.file][:MOST_ANNOTATIONS]
    return {
        "title": f"{len(problems)} problem{'' if len(problems) == 1 else 's'}",
        "summary": _summary(problems),
        "annotations": [
            {
                "path": each.file,
                "start_line": max(each.line, 1),
                "end_line": max(each.line, 1),
                "annotation_level": "failure",
                "message": each.message,
            }
            for each in placed
        ],
    }


def _summary(problems: Sequence[Problem]) -> str:
    rows, left = [], LONGEST_SUMMARY
    for number, each in enumerate(problems):
        row = f"- {escape_markdown(str(each))}"
        left -= len(row.encode()) + 1
        if left < 0:
            rows.append(f"- and {len(problems) - number} more: `modelyard validate` lists them")
            break
        rows.append(row)
    return "\n".join(rows) or "Nothing is wrong any more."
