"""A GitHub for tests: real Git, and a REST API held to GitHub's OpenAPI document.

The fixture `fake_github` gives one with the repository `acme/yard`, empty and private:

    def test_a_review_counts(fake_github):
        ada = fake_github.add_person("ada")               # a token; the role is `write`
        carol = fake_github.add_person("carol", "read")
        app = fake_github.add_app(contents="write", pull_requests="write")
        bot = fake_github.installation_token(app)         # or by `app.key`, as a real App does
        fake_github.seed({"models/wine/model.yaml": "..."})
        fake_github.protect(approvals=1, checks={"modelyard/promote": app.id})
        client = Client(base_url=fake_github.url, token=bot)
        run("git", "clone", fake_github.git_url(ada))

- Git is served at `git_url(token)` by `git http-backend`. Pushes, heads, files and merges are made
  by Git. `refs/pull/N/head` follows the branch of each pull request, and rulesets refuse pushes.
- REST is served at `url`, and below `/api/v3` as on GitHub Enterprise Server. A request that
  GitHub's document does not know (path, parameter, property) and an answer that breaks it
  make the test fail when it ends. A test that means such a request empties `problems`.
- Things go wrong when a test queues them:

    fake_github.queue(bad_gateway("POST", "/comments$", after=True))   # done, and yet 502
    fake_github.queue(moves(lambda: push(...), path="/pulls/1$", after_reads=2))
    fake_github.queue(AsyncMerge(outcome="failed", reads=2))
    fake_github.largest_page = 2          # three items make a second page
    fake_github.dismissal_delay = 2.0     # a push dismisses approvals late
    fake_github.unknown_mergeability = 1  # `mergeable` is null once
    fake_github.clock.advance(3600)       # tokens expire, limits are filled again
    fake_github.add_past_pulls(1000, "ada")   # a repository with a past

- What came is in `log`; `calls("GET", "/pulls", status=304)` counts. What happened is in `events`,
  with the payload that a workflow is given and whether it would start one.
- Not played: a merge queue beyond `enqueued`, code owners, reviewers by file, branches that must
  be up to date, review comments on lines, GraphQL, and anything that a workflow does.
"""

from fakes.github.fake import FakeGitHub
from fakes.github.faults import (
    AsyncMerge,
    Fault,
    bad_gateway,
    cut_off,
    forbidden,
    moves,
    not_found,
    primary_limit,
    secondary_limit,
    too_many,
    try_again,
)
from fakes.github.ledger import LogEntry

__all__ = [
    "AsyncMerge",
    "FakeGitHub",
    "Fault",
    "LogEntry",
    "bad_gateway",
    "cut_off",
    "forbidden",
    "moves",
    "not_found",
    "primary_limit",
    "secondary_limit",
    "too_many",
    "try_again",
]
