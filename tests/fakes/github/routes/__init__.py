"""The operations of the REST API that the fake plays, one subject a module."""

from fakes.github.routes import (
    comments,
    commits,
    issues,
    labels,
    limits,
    merges,
    people,
    pulls,
    reviews,
    statuses,
)

# Importing a subject registers its routes.
SUBJECTS = (comments, commits, issues, labels, limits, merges, people, pulls, reviews, statuses)
