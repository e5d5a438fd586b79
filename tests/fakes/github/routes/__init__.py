"""The operations of the REST API that the fake plays, one subject a module."""

from fakes.github.routes import (
    actions,
    apps,
    comments,
    commits,
    deployments,
    hooks,
    issues,
    merges,
    people,
    pulls,
    reviews,
    rulesets,
    statuses,
)

# Importing a subject registers its routes.
SUBJECTS = (
    actions, apps, comments, commits, deployments, hooks, issues, merges, people,
    pulls, reviews, rulesets, statuses,
)  # fmt: skip
