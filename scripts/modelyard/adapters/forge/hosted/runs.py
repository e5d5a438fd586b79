"""Runs of a forge's workflows: starting one in a person's name, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelyard.adapters.forge.hosted.api import ForgeApi
from modelyard.adapters.forge.hosted.dialect import person_of
from modelyard.domain.people import Person

STARTED = "workflow_dispatch"
"""The event of a run that somebody started."""

CHATOPS = "chatops.yml"
"""The workflow that does what people command."""

DRIFT = "drift.yml"
"""The workflow that compares new data, and proposes a version where drift is confirmed."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a workflow.

    Args:
        id: Its id on the forge.
        page: Its address, for people.
        is_over: Whether it has ended.
        conclusion: How; empty before.
        event: What started it.
        branch: The branch whose workflow runs.
        path: The workflow's file, with or without its folder and branch.
        people: Who started it, also who started it again.
    """

    id: int
    page: str
    is_over: bool
    conclusion: str
    event: str
    branch: str
    path: str
    people: frozenset[Person | None]


@dataclass(frozen=True, kw_only=True)
class WorkflowRuns:
    """The runs of a repository's workflows.

    Args:
        api: The forge's API.
        repository: Owner and name, such as `acme/yard`.
        ask_for_run: See `Dialect`.
    """

    api: ForgeApi
    repository: str
    ask_for_run: str = ""

    def start(self, workflow: str, *, branch: str, inputs: dict[str, str]) -> int | None:
        """Start a workflow by its file's name; returns its run, None if the forge does not say.

        Raises:
            Answered: The forge refuses; its `status` says how.
        """
        path = f"{self._place}/workflows/{workflow}/dispatches{self.ask_for_run}"
        body = {"ref": branch, "inputs": inputs, "return_run_details": True}
        answer = self.api.send("POST", path, body)
        return int(answer["workflow_run_id"]) if answer else None

    def get(self, run: int) -> Run:
        """Return a run.

        Raises:
            Answered: There is none with this id.
        """
        row = self.api.get(f"{self._place}/runs/{run}")
        # GitHub and Gitea have different names for who started it again.
        again = (row.get(name) for name in ("triggering_actor", "trigger_actor") if row.get(name))
        people: list[dict[str, Any] | None] = [row.get("actor"), *again]
        return Run(
            id=int(row["id"]),
            page=str(row["html_url"]),
            is_over=row["status"] == "completed",
            conclusion=str(row.get("conclusion") or ""),
            event=str(row["event"]),
            branch=str(row.get("head_branch") or ""),
            path=str(row.get("path") or ""),
            people=frozenset(map(person_of, people)),
        )

    @property
    def _place(self) -> str:
        return f"/repos/{self.repository}/actions"
