"""A yard with a past: written down directly, as reconcile and the watcher would have left it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from jsonschema import Draft202012Validator, FormatChecker

from modelyard.adapters.git.names import message_of
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.reader import read_specs
from modelyard.cli import cli
from modelyard.domain.canary.rollout import observed_facts
from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.promotion.actions import ProposeRecord, ProposeRelease
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.promotion.world import World
from modelyard.domain.sites import taken_over
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.domain.verdict import Verdict
from modelyard.operations.reconcile.changes import promotion_change, record_change
from modelyard.operations.reconcile.collect import collect_world
from operations.fakes import FolderRegistry
from operations.yard import MODEL, Yard, new_yard, yard_built_once

SCHEMAS = Path(__file__).parents[2] / "schemas" / "output"
IMAGE = Repository().server_image


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed, blanks squeezed, without rules and empty lines."""
        squeezed = (" ".join(line.split()) for line in self.out.splitlines())
        return [line for line in squeezed if line and "─" not in line]


def run(yard: Yard, *arguments: str) -> Said:
    """A command of the command line, in the yard's world."""
    services = yard.workspace().services
    done = CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["--debug", *arguments], obj=services)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "unexpected" not in done.stderr, done.stderr
    return Said(code=done.exit_code, out=done.stdout, err=done.stderr)


def answer(yard: Yard, kind: str, *arguments: str, code: int = 0) -> Any:
    """What a command answers in JSON, which keeps its schema."""
    said = run(yard, kind, *arguments, "--output", "json")
    assert said.code == code, said.err
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    told = json.loads(said.out)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(told)
    return told


def faked_registry(yard: Yard) -> Any:
    """What stands for `collect.Registry`."""
    return lambda *_: FolderRegistry(yard.ledger("registry"))


def world_of(yard: Yard) -> World:
    return collect_world(yard.workspace(), MODEL, with_registry=False)


def release_in(yard: Yard, environment: str) -> Release:
    catalog = read_specs(GitTree(yard.git, yard.main())).catalog
    return catalog.releases[environment, MODEL]


def land(yard: Yard, change: Change, number: int) -> str:
    """A change's commit on the main branch, as merging its pull request leaves it."""
    trailers = {**change.trailers, "Modelyard-Pull": str(number)}
    message = message_of(change.title, trailers)
    return yard.land(change.branch, dict(change.documents), message, number=number)


def trained(yard: Yard, version: str, *, champion: str | None = None, skill: float = 1.5) -> Record:
    """A spec on the main branch, and its workflow's record, which is not."""
    yard.add_version(version)
    name = yard.workflow(version)
    yard.orchestrator.submit(name, template="train-and-evaluate", parameters={})
    return yard.finish(version, champion=champion, skill=skill)


def recorded(
    yard: Yard, version: str, number: int, *, champion: str | None = None, skill: float = 1.5
) -> None:
    """A trained version with its record and its release in dev on the main branch."""
    record = trained(yard, version, champion=champion, skill=skill)
    action = ProposeRecord(record=record, environment="dev")
    land(yard, record_change(world_of(yard), action, server_image=IMAGE), number)


def promoted(yard: Yard, version: str, environment: str, number: int, *, attempt: int = 1) -> None:
    """A version named by an environment."""
    action = ProposeRelease(environment=environment, version=version, attempt=attempt)
    land(yard, promotion_change(world_of(yard), action, server_image=IMAGE), number)


def watched(
    yard: Yard,
    environment: str,
    *,
    ready: bool = True,
    verdict: Verdict | None = None,
    verified: bool = False,
) -> None:
    """What the watcher writes down of the release an environment names."""
    release = release_in(yard, environment)
    state = RolloutState(release=release.identity, ready=ready, share=1.0)

    def change(before: ReleaseFacts) -> ReleaseFacts:
        after = observed_facts(before, release, state, yard.clock.now())
        if verdict is not None:
            aborted = verdict.reason if verdict.outcome == "fail" else None
            after = replace(after, verdict=verdict, judged_at=yard.clock.now(), aborted=aborted)
        others = [identity for identity in after.verified if identity != release.identity]
        mine = [release.identity] if verified or release.identity in after.verified else []
        return replace(after, verified=(*others, *mine))

    facts = yard.workspace().facts
    facts.update_release(environment, MODEL, change)
    site, names = (
        yard.workspace().services.cluster.site(),
        [each.name for each in yard.environments],
    )
    facts.update_owners(lambda owners: taken_over(owners, site, names, yard.clock.now()))


def verified(yard: Yard, version: str, environments: Sequence[str], number: int) -> None:
    """A version released and verified, one environment after the other, a minute each."""
    for place, environment in enumerate(environments):
        if environment == "dev":
            recorded(yard, version, number + place)
        else:
            promoted(yard, version, environment, number + place)
        yard.clock.wait(30)
        watched(yard, environment, verified=True)
        yard.clock.wait(30)


def in_production(folder: Path) -> Yard:
    """A yard whose v1 came through dev, staging and canary, and is verified everywhere."""
    return yard_built_once("in-production", _in_production).copy(folder)


def _in_production(folder: Path) -> Yard:
    yard = new_yard(folder)
    verified(yard, "v1", ("dev", "staging", "canary", "production"), 1)
    return yard
