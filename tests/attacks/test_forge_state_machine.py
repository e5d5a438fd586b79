"""Several people at once, in any order, with kills between any two writes: nobody gets in alone.

What must hold is written here a second time, over what Git, the facts and the people themselves
remember. `make test-long` plays longer games.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from git_commits import write_commit
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.people import Person
from modelyard.domain.promotion.actions import ProposeRelease
from modelyard.domain.promotion.facts import Hold
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullState, Status, StatusState
from modelyard.domain.specs.environment import Approvals
from modelyard.domain.specs.paths import environment_file
from modelyard.errors import YardError
from modelyard.operations.holds import lift_hold, place_hold
from modelyard.operations.reconcile.changes import (
    new_release,
    promotion_change,
    release_documents,
)
from modelyard.operations.watch.pass_once import run_pass
from operations.yard import (
    AT,
    BOT,
    CANARY,
    MODEL,
    PRODUCTION,
    contested_yard,
    manifests,
)

from operations.yard import release_file, spec, spec_file  # isort: skip
from operations.yard_with_history import world_of

PEOPLE = ("ada", "bob", "Mallory")
MAKER = "Cleo"  # who wrote the versions of this yard
WATCHED = {each.name: each for each in (CANARY, PRODUCTION)}
BRANCHES = (
    "one",
    "two",
    "modelyard/rollback",  # stands in the way of every rollback
    f"modelyard/retrain/{MODEL}",
    f"modelyard/record/v2/{MODEL}",
    f"modelyard/promote/canary/{MODEL}",
    f"modelyard/promote/production/{MODEL}",
    f"modelyard/rollback/canary/{MODEL}",
    f"modelyard/rollback/production/{MODEL}",
)
MOST_PASSES = 12
OPEN_CANARY = replace(CANARY, approvals=Approvals(needed=0))

people = st.sampled_from(PEOPLE)
makers_too = st.sampled_from((*PEOPLE, MAKER, "ADA ", BOT))
branches = st.sampled_from(BRANCHES)
index = st.integers(0, 20)
contents = st.sampled_from(("canary", "production", "both", "words", "a version", "a rule"))


class KilledError(BaseException):
    """The process is gone."""


@contextmanager
def killed_at(number, *, before):
    """Die around the push of this number, counted from 1; later ones are not reached."""
    real, done = Git.push, []

    def push(self, remote, updates):
        done.append(None)
        if len(done) == number and before:
            raise KilledError
        real(self, remote, updates)
        if len(done) == number:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Git, "push", push)
        yield


_START = []


def start():
    """v1 is verified everywhere, v2 in staging and due in the canary; made once."""
    if not _START:
        folder = Path(tempfile.mkdtemp(prefix="modelyard-machine-"))
        yard = contested_yard(folder / "yard")
        yard.put("v2", "staging")
        _START.append(yard)
    return _START[0]


class Forge(RuleBasedStateMachine):
    """People and machines on one forge."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="modelyard-game-"))
        self.yard = start().copy(self.folder / "yard")
        self.seen = self.yard.main()
        # By commit, what each person said of it last; by branch, who asked for it.
        self.reviews = defaultdict(dict)
        self.asked = defaultdict(set)
        self.pushed = []

    def teardown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    # People

    @rule(branch=branches, what=contents, version=st.sampled_from(("v1", "v2")), who=people)
    def push(self, branch, what, version, who):
        documents = {
            "words": {"README.md": f"{len(self.pushed)}\n".encode()},
            "a rule": {environment_file("canary"): dump_spec("Environment", OPEN_CANARY)},
            "a version": {spec_file("v9"): dump_spec("ModelVersion", spec("v9"))},
        }.get(what)
        if documents is None:
            documents = {}
            for where in WATCHED if what == "both" else (what,):
                documents |= self.pin(version, where)
        before = self.yard.refs().get(f"refs/heads/{branch}")
        base = before or self.yard.main()
        commit = write_commit(
            self.yard.git, base, documents, parents=[base], message="x", author=who, at=AT
        )
        self.send(branch, before, commit)

    @precondition(lambda self: self.pushed)
    @rule(branch=branches, number=index)
    def push_the_same_commit_elsewhere(self, branch, number):
        before = self.yard.refs().get(f"refs/heads/{branch}")
        self.send(branch, before, self.pushed[number % len(self.pushed)])

    @rule(branch=branches, who=makers_too, forced=st.booleans())
    def open(self, branch, who, forced):
        opened = self.yard.open if forced else self.open_branch
        self.attempt(partial(opened, branch, who))

    @rule(number=index, who=makers_too, approved=st.sampled_from((True, True, False)))
    def review(self, number, who, approved):
        if pull := self.pick(number):
            self.say(pull, who, approved=approved)

    @rule(number=index, who=people)
    def close(self, number, who):
        if pull := self.pick(number):
            self.attempt(partial(self.yard.pulls.close, pull.number, by=who, reason="no"))

    @rule(number=index, who=people)
    def merge(self, number, who):
        if pull := self.pick(number):
            self.attempt(partial(self.yard.pulls.merge, pull.number, sha=pull.head, by=who))

    @rule(number=index)
    def forge_statuses(self, number):
        """Everybody who may push may write them."""
        if pull := self.pick(number):
            for context in (CHECKS, PROMOTE):
                green = Status(context=context, state=StatusState.SUCCESS, description="mine")
                self.attempt(partial(self.yard.pulls.set_status, pull, green))

    @rule(where=st.sampled_from(tuple(WATCHED)), who=people)
    def ask_for_a_promotion(self, where, who):
        self.attempt(partial(self.promote, where, who))

    @rule(branch=branches)
    def delete(self, branch):
        before = self.yard.refs().get(f"refs/heads/{branch}")
        if before is not None:
            self.send(branch, before, None)

    # Machines

    @rule()
    def watch(self):
        self.pass_once()

    @rule(number=st.integers(1, 8), before=st.booleans())
    def watch_is_killed(self, number, before):
        with killed_at(number, before=before):
            self.attempt(self.pass_once)

    @rule(number=index, at=st.integers(1, 2), before=st.booleans(), who=people)
    def merge_is_killed(self, number, at, before, who):
        if pull := self.pick(number):
            merge = partial(self.yard.pulls.merge, pull.number, sha=pull.head, by=who)
            with killed_at(at, before=before):
                self.attempt(merge)

    @rule(who=st.sampled_from((("ada",), ("ada", "bob"), ("Mallory",))))
    def everybody_does_their_part(self, who):
        for _ in range(3):
            self.pass_once()
            for pull in self.yard.pulls.list():
                for each in who:
                    self.say(pull, each, approved=True)
            self.yard.clock.wait(120)

    @precondition(lambda self: "v2" in self.versions_in_use())
    @rule()
    def a_held_version_gets_out(self):
        services = self.yard.workspace().services
        hold = Hold(reason="bad", by="ada", since=self.yard.clock.at)
        self.attempt(partial(place_hold, services, MODEL, "v2", hold))
        for _ in range(MOST_PASSES):
            if "v2" not in self.versions_in_use():
                break
            self.pass_once()
        assert "v2" not in self.versions_in_use(), self.yard.said[-10:]
        self.attempt(partial(lift_hold, services, MODEL, "v2", by="ada"))

    # What must hold

    @initialize()
    def begin(self):
        self.pass_once()

    @invariant()
    def every_release_was_verified_before_and_approved_here(self):
        main = self.yard.main()
        if main == self.seen:
            return
        for entry in self.yard.git.log(f"{self.seen}..{main}", first_parent=True)[::-1]:
            for where in WATCHED:
                self.check_entry(where, entry.sha)
            self.check_rules(entry.sha)
        self.seen = main

    def check_entry(self, where, commit):
        """What this commit of main did to one environment."""
        before, after = self.state(f"{commit}^1", where), self.state(commit, where)
        if before == after:
            return
        past = self.yard.git.log(f"{commit}^1", path=release_file(where), first_parent=True)
        if after in [(None, None), *(self.state(each.sha, where) for each in past)]:
            return  # what it had before came back, byte for byte
        released = read_specs(GitTree(self.yard.git, commit)).catalog.releases[where, MODEL]
        source = WATCHED[where].promotes_from
        facts = self.yard.facts(source)
        assert released.artifact in self.verified_artifacts(source, facts), f"{where}: unverified"
        head = self.yard.git.rev_parse(f"{commit}^2")
        approved = self.approvers(head, base=f"{commit}^1", where=where)
        rules = read_specs(GitTree(self.yard.git, self.yard.git.rev_parse(f"{commit}^1"))).catalog
        needed = rules.environments[where].approvals.needed
        assert len(approved) >= needed, f"{where}: {approved}"

    def check_rules(self, commit):
        """A rule is changed by no one alone."""
        sha = self.yard.git.rev_parse(commit)
        before = self.yard.git.rev_parse(f"{commit}^1")
        if environment_file("canary") in self.yard.git.diff_names(before, sha):
            head = self.yard.git.rev_parse(f"{commit}^2")
            assert self.approvers(head, base=before, where="canary"), "a rule without approvals"

    def state(self, commit, where):
        """Pin and manifests of an environment at a commit."""
        git = self.yard.git
        sha = git.rev_parse(commit)
        return git.tree_hash(sha, release_file(where)), git.tree_hash(sha, manifests(where))

    def verified_artifacts(self, where, facts):
        """Artifacts of the releases that the facts call verified there."""
        git, path = self.yard.git, release_file(where)
        log = git.log(self.yard.main(), path=path, first_parent=True)
        past = [read_specs(GitTree(git, each.sha)).catalog.releases[where, MODEL] for each in log]
        return {each.artifact for each in past if each.identity in facts.verified}

    def approvers(self, head, *, base, where):
        """People whose last word on this very commit was yes, and who had no part in it."""
        commits = self.yard.git.log(f"{self.yard.git.rev_parse(base)}..{head}")
        made = {name for each in commits for name in (each.author, each.committer)}
        barred = {each.strip().lower() for each in (*made, MAKER, BOT, *self.asked[where])}
        said = {who for who, yes in self.reviews[head].items() if yes and who not in barred}
        wanted = set(WATCHED[where].approvals.approvers)
        return said & wanted if wanted else said

    # What the rules are made of

    def versions_in_use(self):
        """The versions that users meet."""
        return {version for where, version in self.yard.names().items() if where in WATCHED}

    def attempt(self, act):
        """A no, a lost race and a death are answers; anything else is a defect."""
        try:
            return act()
        except (YardError, KilledError):
            return None

    def pick(self, number):
        pulls = [each for each in self.yard.pulls.list() if each.state is PullState.OPEN]
        return pulls[number % len(pulls)] if pulls else None

    def pin(self, version, where):
        world = world_of(self.yard)
        made = new_release(world, where, world.record(version), server_image="image:1")
        return release_documents(world, replace(made, attempt=7))

    def promote(self, where, who):
        workspace = self.yard.workspace()
        action = ProposeRelease(environment=where, version="v2", attempt=1)
        change = promotion_change(world_of(self.yard), action, server_image="image:1")
        workspace.services.pulls.propose(change, requester=Person.named(who))
        self.asked[where].add(who)

    def send(self, branch, before, commit):
        pushed = partial(self.yard.git.push, "origin", {f"refs/heads/{branch}": (before, commit)})
        self.attempt(pushed)
        if commit is not None:
            self.pushed.append(commit)

    def open_branch(self, branch, who):
        return self.yard.pulls.open_branch(branch, title="x", body="", author=who)

    def say(self, pull, who, *, approved):
        self.attempt(
            partial(self.yard.pulls.review, pull.number, sha=pull.head, by=who, approved=approved)
        )
        self.reviews[pull.head][who.strip().lower()] = approved

    def pass_once(self):
        """A process that has just started; what it could not do it names."""
        result = run_pass(self.yard.workspace(), report=self.yard.said.append, with_checks=True)
        for _, error in result.failures:
            assert isinstance(error, YardError), error


class LongForge(Forge):
    """The same rules, for longer."""


_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
TestForge = Forge.TestCase
TestForge.settings = settings(
    max_examples=2, stateful_step_count=14, deadline=None, suppress_health_check=_QUIET
)
TestLongForge = pytest.mark.long(LongForge.TestCase)
TestLongForge.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=_QUIET
)
