"""What the fake remembers: its nouns, each a plain record that routes change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fakes.github.faults import AsyncMerge
from fakes.github.git.repository import Repository

ROLES = ("none", "read", "triage", "write", "maintain", "admin")

Json = dict[str, Any]


@dataclass(kw_only=True)
class User:
    """A person, a bot or an organisation; `emails` are those that GitHub maps commits by."""

    id: int
    login: str
    type: str = "User"
    emails: tuple[str, ...] = ()

    @property
    def noreply(self) -> str:
        """The address that GitHub gives them."""
        return f"{self.id}+{self.login}@users.noreply.github.com"


@dataclass(kw_only=True)
class App:
    """A GitHub App with one installation; `key` is its private key as PEM."""

    id: int
    slug: str
    bot: User
    installation: int
    permissions: dict[str, str]
    key: str


@dataclass(kw_only=True)
class Token:
    """Who a token acts as.

    Args:
        user: The user whose name its acts bear.
        kind: `person`, `installation` (of an App), or `actions`, whose events start nothing.
        permissions: What an App's or a workflow's token may do; a person's may do all they may.
        expires: When it stops to work, in seconds.
    """

    user: User
    kind: str = "person"
    permissions: dict[str, str] | None = None
    expires: float | None = None
    app: App | None = None


@dataclass(kw_only=True)
class Review:
    """A review of one commit of a pull request; it may be dismissed later than it is outdated."""

    id: int
    user: User
    state: str
    body: str
    commit: str
    submitted: float
    dismissed_at: float | None = None
    dismissal: str = ""

    def state_at(self, now: float) -> str:
        """Return the state that a reader sees."""
        gone = self.dismissed_at is not None and now >= self.dismissed_at
        return (
            "DISMISSED"
            if gone and self.state in {"APPROVED", "CHANGES_REQUESTED"}
            else (self.state)
        )


@dataclass(kw_only=True)
class Comment:
    """A comment on an issue or a pull request."""

    id: int
    issue: int
    user: User
    body: str
    created: float
    updated: float
    app: App | None = None
    reactions: list[Json] = field(default_factory=list)


@dataclass(kw_only=True)
class Issue:
    """An issue; `labels` are names."""

    id: int
    number: int
    title: str
    body: str | None
    user: User
    created: float
    updated: float
    state: str = "open"
    closed: float | None = None
    closed_by: User | None = None
    labels: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class BaseChange:
    """Somebody gave a pull request another base."""

    id: int
    user: User
    at: float


@dataclass(kw_only=True)
class Pull(Issue):
    """A pull request.

    Args:
        branch: Its branch in `source`, the repository itself or a fork.
        head: The last commit of it that the fake has seen.
        base_sha: The head of the base when the pull request was opened, or closed.
        pushers: Who pushed to it, the first who did first.
    """

    source: RepositoryState
    branch: str
    head: str
    base: str
    base_sha: str
    draft: bool = False
    merged: float | None = None
    merged_by: User | None = None
    merge_commit: str | None = None
    trial: str | None = None
    stack: Json | None = None
    reviews: list[Review] = field(default_factory=list)
    pushers: list[User] = field(default_factory=list)
    last_pusher: User | None = None
    base_changes: list[BaseChange] = field(default_factory=list)


@dataclass(kw_only=True)
class MergeRequest:
    """An asked-for merge (`merge-async`): what it was asked with, and what came of it."""

    uuid: str
    number: int
    sha: str
    method: str
    action: str
    token: Token
    title: str | None
    message: str | None
    asked: float
    plan: AsyncMerge
    reads: int = 0
    status: str = "pending"
    detail: Json = field(default_factory=dict)


@dataclass(kw_only=True)
class Hook:
    """A webhook of the repository."""

    id: int
    url: str
    secret: str
    events: list[str]
    active: bool = True
    created: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Activity:
    """One push to a branch, as `activity` lists it; `before` is all zeros for a new branch."""

    id: int
    user: User
    branch: str
    before: str
    after: str
    at: float
    forced: bool = False


@dataclass(kw_only=True)
class RepositoryState:
    """A repository: its Git, and what GitHub keeps beside it."""

    id: int
    owner: User
    name: str
    git: Repository
    private: bool = True
    parent: RepositoryState | None = None
    roles: dict[int, str] = field(default_factory=dict)
    pushers: dict[str, list[User]] = field(default_factory=dict)
    activity: list[Activity] = field(default_factory=list)
    issues: dict[int, Issue] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    labels: dict[str, Json] = field(default_factory=dict)
    statuses: list[Json] = field(default_factory=list)
    check_runs: dict[int, Json] = field(default_factory=dict)
    annotations: dict[int, list[Json]] = field(default_factory=dict)
    deployments: dict[int, Json] = field(default_factory=dict)
    deployment_statuses: dict[int, list[Json]] = field(default_factory=dict)
    environments: dict[str, Json] = field(default_factory=dict)
    rulesets: dict[int, Json] = field(default_factory=dict)
    hooks: dict[int, Hook] = field(default_factory=dict)
    actions: Json = field(default_factory=lambda: {"enabled": True, "allowed_actions": "all"})
    disabled_workflows: set[str] = field(default_factory=set)
    runs: dict[int, Json] = field(default_factory=dict)
    merge_requests: dict[str, MergeRequest] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """Owner and name."""
        return f"{self.owner.login}/{self.name}"

    @property
    def pulls(self) -> dict[int, Pull]:
        """The pull requests by number."""
        return {n: issue for n, issue in self.issues.items() if isinstance(issue, Pull)}

    def role(self, user: User) -> str:
        """Return the role of a user: that of the owner is `admin`."""
        if user.id == self.owner.id:
            return "admin"
        return self.roles.get(user.id, "none" if self.private else "read")
