"""Lists what is on the main branch without a review, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.domain.problem import Problem
from modelyard.domain.promotion.rollback import find_unreviewed, unreviewed_command
from modelyard.domain.review.pushed_rules import PushedRule
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import release_file
from modelyard.operations.reconcile.collect import collect_reviews, read_pulls
from modelyard.operations.reconcile.rule_reviews import find_pushed_rules
from modelyard.operations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class UnreviewedRelease:
    """A release, or the lack of one, that nobody reviewed.

    Args:
        file: The path of its pin.
        what: What is wrong with it, in a sentence.
        command: The command with which a person decides.
    """

    file: str
    what: str
    command: str


def list_unreviewed(workspace: Workspace, catalog: Catalog) -> Iterator[UnreviewedRelease]:
    """What the environments of the main branch hold without a review, by model."""
    for world in collect_reviews(workspace, catalog, sorted(catalog.models)):
        for environment in catalog.path_to_production():
            found = find_unreviewed(world, environment)
            if found is not None:
                release = world.release(environment.name)
                has = release.version if release else "no release"
                yield UnreviewedRelease(
                    file=release_file(environment.name, world.model),
                    what=f"{environment.name} has {has} of {world.model}, unreviewed: {found.what}",
                    command=unreviewed_command(world, environment),
                )


def list_pushed_rules(workspace: Workspace) -> tuple[PushedRule, ...]:
    """The rules of the main branch that a push changed."""
    return find_pushed_rules(workspace, read_pulls(workspace))


def unreviewed_problems(workspace: Workspace) -> tuple[Problem, ...]:
    """Both as problems of the main branch's files."""
    catalog = workspace.catalog(workspace.main())
    rules = (
        Problem(
            file=rule.file,
            message=f"on the main branch {rule}: {rule.command}",
            check="unreviewed",
            line=1,
        )
        for rule in list_pushed_rules(workspace)
    )
    return (*rules, *_release_problems(workspace, catalog))


def _release_problems(workspace: Workspace, catalog: Catalog) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            file=each.file,
            message=f"on the main branch {each.what}: {each.command}",
            check="unreviewed",
            line=1,
        )
        for each in list_unreviewed(workspace, catalog)
    )
