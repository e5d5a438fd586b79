"""Deployments of GitHub, so that its page of environments shows what runs where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from modelyard.adapters.forge.hosted.api import PAGE, ForgeApi
from modelyard.adapters.forge.hosted.dialect import Json, person_of
from modelyard.domain.deployments import Deployment, DeploymentState
from modelyard.domain.people import Person

LONGEST_DESCRIPTION = 140

_OVER = frozenset({"inactive", "failure", "error"})


@dataclass(frozen=True, kw_only=True)
class Deployments:
    """The deployments of one repository.

    Args:
        api: The API.
        place: Their path in it.
        me: The tool's account; anybody who may write can create some.
        page: Returns the address of a pull request.
    """

    api: ForgeApi
    place: str
    me: Person
    page: Callable[[int | None], str]

    def show(self, wanted: Deployment) -> None:
        """Make the deployment and its status what is wanted; the same again changes nothing.

        A deployment cannot be created only once, so the tool looks for its own before. One that is
        replaced ends before the status of the new one is set: with that status, all is done.
        Where nothing is active any more, those that are shown end, and none is created.
        """
        listed = self.api.pages(self.place, environment=wanted.environment, task=_task(wanted))
        mine = [row for row in islice(listed, PAGE) if person_of(row.get("creator")) == self.me]
        if wanted.state is DeploymentState.INACTIVE:
            self._end(mine, wanted)
            return
        same = [row["id"] for row in mine if _is(row, wanted)]
        kept = min(same) if same else int(self.api.send("POST", self.place, _new(wanted))["id"])
        if self._state(kept) == wanted.state:
            return
        self._end([row for row in mine if row["id"] != kept], wanted)
        status = {
            "state": str(wanted.state),
            "description": wanted.why[:LONGEST_DESCRIPTION],
            # GitHub would end those of other models too.
            "auto_inactive": False,
            "log_url": self.page(wanted.pull),
        }
        self._set(kept, status)

    def _end(self, rows: Iterable[Json], wanted: Deployment) -> None:
        for row, state in self._still_shown(rows):
            is_bad = state != DeploymentState.SUCCESS and _payload(row).get("version") in wanted.bad
            ended = DeploymentState.FAILURE if is_bad else DeploymentState.INACTIVE
            self._set(row["id"], {"state": str(ended)})

    def _still_shown(self, rows: Iterable[Json]) -> Iterator[tuple[Json, str | None]]:
        """Yield those that are not over, with their states, newest first."""
        for row in rows:
            state = self._state(row["id"])
            if state in _OVER:
                return  # those before it ended before it
            yield row, state

    def _state(self, number: int) -> str | None:
        newest = next(self.api.pages(f"{self.place}/{number}/statuses"), None)
        return None if newest is None else str(newest["state"])

    def _set(self, number: int, status: Json) -> None:
        self.api.send("POST", f"{self.place}/{number}/statuses", status)


def _task(wanted: Deployment) -> str:
    # GitHub knows no models: an environment has one deployment of each task.
    return f"deploy:{wanted.model}"


def _payload(row: Json) -> Json:
    payload = row.get("payload")
    return payload if isinstance(payload, dict) else {}


def _is(row: Json, wanted: Deployment) -> bool:
    return row["sha"] == wanted.commit and _payload(row).get("release") == wanted.release


def _new(wanted: Deployment) -> Json:
    return {
        "ref": wanted.commit,
        "task": _task(wanted),
        "environment": wanted.environment,
        "description": f"{wanted.model} {wanted.version}"[:LONGEST_DESCRIPTION],
        "payload": {"version": wanted.version, "release": wanted.release},
        "auto_merge": False,
        # What is on the main branch was checked before it was merged.
        "required_contexts": [],
        "transient_environment": False,
        "production_environment": wanted.is_production,
    }
