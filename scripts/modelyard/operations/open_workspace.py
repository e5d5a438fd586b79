"""Opens the workspace of a checkout, which asks pull requests about an environment that is gone."""

from __future__ import annotations

import logging

from modelyard.domain.promotion.change import Purpose, parse_branch
from modelyard.domain.promotion.pulls import Pulls, PullState
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import environment_file
from modelyard.errors import YardError
from modelyard.operations.workspace import Workspace, facts_of, store_of
from modelyard.ports import Services

logger = logging.getLogger(__name__)


def workspace_of(services: Services) -> Workspace:
    """Everything an operation works with."""
    return Workspace(
        services=services,
        facts=facts_of(services),
        store=store_of(services),
        was_taken_away=was_taken_away,
    )


def describe_other_spec(workspace: Workspace, commit: str, path: str) -> str | None:
    """That the checkout has another file of this path than a commit of main; None if it has not.

    What reads the main branch answers as if an edit of the checkout were not there.
    """
    if not (workspace.git.root / path).is_file():
        return None
    # 128 and more: it is no working tree.
    done = workspace.git.run(
        "diff", "--no-ext-diff", "--quiet", commit, "--", path, accept=(0, 1, 128, 129)
    )
    if done.returncode != 1:
        return None
    return (
        f"{path} of this checkout is not that of the main branch, which counts here: merge it by a "
        "pull request, or pull"
    )


def was_taken_away(workspace: Workspace, environment: Environment) -> bool | None:
    """Whether a push took away an environment to which a merged pull request had released.

    None while the forge does not answer.
    """
    # Few commands ask it, and all of them start with this module.
    from modelyard.operations.reconcile.collect import read_pulls
    from modelyard.operations.reconcile.rule_reviews import find_pushed_rules

    try:
        pulls = read_pulls(workspace)
        rules = find_pushed_rules(workspace, pulls)
    except YardError as error:  # what may have to go back does not wait for the forge
        logger.warning("%s", error.message)
        return None
    file = environment_file(environment.name)
    return any(rule.file == file for rule in rules) and _was_released_to(environment, pulls)


def _was_released_to(environment: Environment, pulls: Pulls) -> bool:
    merged = (parse_branch(p.branch) for p in pulls.closed if p.state is PullState.MERGED)
    return any(
        branch.purpose is Purpose.RECORD
        if environment.promotes_from is None  # the first one gets its releases with records
        else branch.purpose is Purpose.PROMOTE and branch.subject == environment.name
        for branch in merged
        if branch is not None
    )
