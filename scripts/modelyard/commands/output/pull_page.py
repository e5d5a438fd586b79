"""Pull requests for people and programs: a table of them, a page of one, and JSON documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelyard.commands.output.formatting import make_table, render_markdown
from modelyard.domain.harmless_text import harmless_line, harmless_lines
from modelyard.domain.promotion.approvals import find_approvers, why_no_approver
from modelyard.domain.promotion.pulls import PullRequest, Review, Status, StatusState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_COLOURS = {
    StatusState.SUCCESS: "green",
    StatusState.PENDING: "yellow",
    StatusState.FAILURE: "red",
    StatusState.ERROR: "red",
}
_SHORT = 12


def summarize_pull(pull: PullRequest) -> dict[str, Any]:
    """Return one entry of `modelyard pr list --output json`."""
    return {
        "number": pull.number,
        "branch": pull.branch,
        "title": pull.title,
        "state": str(pull.state),
        "author": str(pull.author),
        "requester": str(pull.requester) if pull.requester else None,
        "head": pull.head,
        "opened_at": pull.opened_at.isoformat(),
        "approved_by": sorted(map(str, find_approvers(pull))),
        "statuses": [_status(status) for _, status in sorted(pull.statuses.items())],
    }


def describe_pull(pull: PullRequest, files: Sequence[str]) -> dict[str, Any]:
    """Return the document of `modelyard pr show --output json`."""
    return {
        **summarize_pull(pull),
        "base": pull.base,
        "body": pull.body,
        "contributors": list(map(str, pull.contributors)),
        "labels": list(pull.labels),
        "files": list(files),
        "reviews": [
            {
                "author": str(review.author),
                "approved": review.approved,
                "sha": review.sha,
                "at": review.at.isoformat(),
            }
            for review in pull.reviews
        ],
        "comments": [
            {"author": str(each.author), "body": each.body, "at": each.at.isoformat()}
            for each in pull.comments
        ],
        "merged_as": pull.merged_as,
        "closed_at": pull.closed_at.isoformat() if pull.closed_at else None,
        "closed_by": str(pull.closed_by) if pull.closed_by else None,
    }


def make_pulls_table(pulls: Iterable[PullRequest]) -> Table:
    """Return a table of the pull requests."""
    from rich.text import Text

    rows = []
    for pull in pulls:
        title = Text.assemble(harmless_line(pull.title), "\n", (harmless_line(pull.branch), "dim"))
        statuses = Text("\n").join(_coloured(status) for _, status in sorted(pull.statuses.items()))
        approvers = ", ".join(sorted(map(str, find_approvers(pull))))
        rows.append((f"#{pull.number}", title, pull.state, statuses, approvers))
    return make_table(None, ("", "pull request", "state", "statuses", "approved by"), rows)


def render_pull(pull: PullRequest, files: Sequence[str]) -> Iterator[RenderableType]:
    """Yield everything an approver needs, from top to bottom."""
    from rich.text import Text

    yield Text.assemble((f"#{pull.number} {harmless_line(pull.title)}", "bold"), f"  {pull.state}")
    yield _header(pull)
    if pull.body.strip():
        yield Text()
        yield from render_markdown(pull.body)
    if pull.statuses:
        yield Text("\nStatuses of the head commit", style="bold")
        yield _statuses(pull.statuses)
    yield Text("\nReviews", style="bold")
    yield _reviews(pull)
    yield Text(f"\nFiles changed: {len(files)}", style="bold")
    yield Text("\n".join(f"  {harmless_line(path)}" for path in files))
    for comment in pull.comments:
        when = f"\n{harmless_line(str(comment.author))}, {comment.at:%Y-%m-%d %H:%M}"
        yield Text.assemble((when, "bold"), "\n", harmless_lines(comment.body))


def _header(pull: PullRequest) -> RenderableType:
    from rich.text import Text

    asked = f", requested by {harmless_line(str(pull.requester))}" if pull.requester else ""
    lines = [
        f"{harmless_line(pull.branch)} at {pull.head}",
        f"opened {pull.opened_at:%Y-%m-%d %H:%M} by {harmless_line(str(pull.author))}{asked}",
    ]
    if pull.contributors:
        lines.append(
            f"with commits by {', '.join(harmless_line(str(who)) for who in pull.contributors)}"
        )
    if pull.version_makers:
        barred = (f"{harmless_line(str(who))} {did}" for who, did in pull.version_makers.items())
        lines.append(f"may not approve it: {', '.join(barred)}")
    if pull.merged_as:
        lines.append(f"merged as {pull.merged_as} by {harmless_line(str(pull.closed_by or ''))}")
    elif pull.closed_by:
        lines.append(f"closed by {harmless_line(str(pull.closed_by))}")
    return Text("\n".join(lines), style="dim")


def _statuses(statuses: Mapping[str, Status]) -> Table:
    from rich.text import Text

    rows = [
        (context, Text(status.state, style=_COLOURS[status.state]), status.description)
        for context, status in sorted(statuses.items())
    ]
    return make_table(None, ("status", "state", "description"), rows)


def _reviews(pull: PullRequest) -> RenderableType:
    from rich.text import Text

    if not pull.reviews:
        return Text("  none yet")
    approves, objects = Text("approves", style="green"), Text("objects", style="red")
    rows = [
        (
            str(review.author),
            approves if review.approved else objects,
            review.sha[:_SHORT],
            _counts(pull, review),
        )
        for review in pull.reviews
    ]
    return make_table(None, ("who", "", "commit", "counts"), rows)


def _counts(pull: PullRequest, review: Review) -> str:
    """Return whether a review counts as an approval, or why it does not."""
    if review.sha != pull.head:
        return "no: for an older head"
    if did := why_no_approver(pull, review.author):
        return "no: for their own work" if did.endswith(" it") else f"no: {did}"
    theirs = [r for r in pull.reviews if r.sha == pull.head and r.author == review.author]
    if review is not theirs[-1]:
        return "no: a later one replaces it"
    return "yes" if review.approved else "no"


def _coloured(status: Status) -> Any:
    from rich.text import Text

    return Text(f"{harmless_line(status.context)} {status.state}", style=_COLOURS[status.state])


def _status(status: Status) -> dict[str, str]:
    return {
        "context": status.context,
        "state": str(status.state),
        "description": status.description,
    }
