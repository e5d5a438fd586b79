"""`FakeGitHub`: what a test holds, and what routes ask."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from fakes.github.clock import Clock
from fakes.github.directory import Directory
from fakes.github.events import Deliveries, Event
from fakes.github.faults import AsyncMerge, Fault
from fakes.github.git.objects import Signature
from fakes.github.git.repository import Repository
from fakes.github.ledger import Ledger, LogEntry
from fakes.github.merging import merge_refusals
from fakes.github.rules import careful_ruleset
from fakes.github.server import Server
from fakes.github.shapes import Shapes
from fakes.github.state import App, Json, Pull, RepositoryState, Token, User


class FakeGitHub:
    """A GitHub with the repository `acme/yard`, on a port of its own.

    Args:
        folder: An empty folder for its repositories.

    Attributes:
        repository: `acme/yard`.
        clock: Its time; `clock.advance(seconds)` puts it forward.
        events: Everything that a webhook or a workflow would have been started by.
        problems: What broke GitHub's document; `verify` raises them.
        largest_page: The most items of a page, so that a few make a second page.
        dismissal_delay: Seconds from a push until the approvals before it are dismissed.
        unknown_mergeability: Of so many reads of a pull request `mergeable` is null.
        installation_lasts: Seconds that the token of an installation works.
        ledger: Counts calls; `ledger.hourly` is how many each login has in an hour.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.clock = Clock()
        self.ledger = Ledger(self.clock)
        self.directory = Directory(self.clock)
        self.deliveries = Deliveries()
        self.events: list[Event] = []
        self.problems: list[str] = []
        self.repositories: dict[str, RepositoryState] = {}
        self.merge_outcomes: list[AsyncMerge] = []
        self.largest_page = 100
        self.dismissal_delay = 0.0
        self.unknown_mergeability = 0
        self.installation_lasts = 3600.0
        self._faults: list[Fault] = []
        self._ids = 5000
        self.ghost = self.directory.add("ghost")
        self.organization = self.directory.add("acme", kind="Organization")
        self.repository = self._add_repository(self.organization, "yard")
        self.server = Server(self)
        self.shapes = Shapes(
            api=self.url, html=self.url, clock=self.clock, users=self.directory.by_email
        )

    # Setting the scene.

    @property
    def url(self) -> str:
        """The URL of the API, without a slash at the end; `/api/v3` may follow."""
        return self.server.url

    def git_url(self, token: str = "", repository: RepositoryState | None = None) -> str:
        """Return the URL to clone from, with a token in it if one is given."""
        name = (repository or self.repository).full_name
        scheme, _, host = self.url.partition("://")
        return f"{scheme}://{f'x-access-token:{token}@' if token else ''}{host}/{name}.git"

    def add_person(self, login: str, role: str = "write", *, emails: tuple[str, ...] = ()) -> str:
        """Add a person with a role in the repository, and return a token of theirs.

        Their commits are mapped to them by `<login>@example.org` and the addresses given.
        """
        user = self.directory.add(login, emails=(f"{login}@example.org", *emails))
        self.repository.roles[user.id] = role
        return self.directory.give_token(f"token-of-{login}", Token(user=user))

    def add_app(self, slug: str = "modelyard", **permissions: str) -> App:
        """Add a GitHub App, installed in the repository, with permissions by name."""
        return self.directory.add_app(slug, permissions)

    def installation_token(self, app: App) -> str:
        """Return a token of an App's installation, as the App itself would ask for one."""
        return self.directory.installation_token(
            app, app.permissions, lasts=self.installation_lasts
        )

    def actions_token(self, **permissions: str) -> str:
        """Return a GITHUB_TOKEN, whose events start no workflow."""
        bot = self.user("github-actions[bot]") or self.directory.add(
            "github-actions[bot]", kind="Bot"
        )
        token = Token(user=bot, kind="actions", permissions={"metadata": "read", **permissions})
        return self.directory.give_token("token-of-a-workflow", token)

    def user(self, login: str) -> User | None:
        """Return a user by login."""
        return self.directory.users.get(login.lower())

    def add_team(self, slug: str, *logins: str, pending: Iterable[str] = ()) -> None:
        """Add a team of the organisation; `pending` have not accepted yet."""
        states = dict.fromkeys(logins, "active") | dict.fromkeys(pending, "pending")
        self.directory.teams[slug] = {login.lower(): state for login, state in states.items()}

    def seed(
        self,
        files: Mapping[str, str | None],
        *,
        branch: str = "main",
        message: str = "Start",
        author: str = "ada",
        repository: RepositoryState | None = None,
    ) -> str:
        """Commit files to a branch past all rules, and return the commit."""
        who = Signature(name=author, email=f"{author}@example.org", time=int(self.clock.now()))
        git = (repository or self.repository).git
        return git.commit_files(branch, files, message, author=who)

    def protect(
        self,
        *,
        pattern: str = "~DEFAULT_BRANCH",
        approvals: int = 0,
        checks: Mapping[str, int | None] | Iterable[str] = (),
        dismiss_stale: bool = True,
        last_push: bool = False,
        bypass: Iterable[Json] = (),
    ) -> Json:
        """Add a ruleset as a careful admin makes it, and return it.

        Args:
            pattern: The branches that it is for.
            approvals: Approving reviews that a pull request needs.
            checks: The required statuses, with the id of the App that must set them, if any.
            dismiss_stale: Whether a push dismisses the approvals before it.
            last_push: Whether somebody other than the last pusher must approve.
            bypass: The actors that may pass, as GitHub writes them.
        """
        ruleset = careful_ruleset(
            self.repository,
            self.new_id(),
            pattern=pattern,
            approvals=approvals,
            checks=checks,
            dismiss_stale=dismiss_stale,
            last_push=last_push,
            bypass=bypass,
        )
        self.repository.rulesets[ruleset["id"]] = ruleset
        return ruleset

    def fork(self, login: str) -> RepositoryState:
        """Return a fork of the repository that belongs to a user."""
        owner = self.user(login)
        assert owner is not None, f"there is no {login}"
        fork = self._add_repository(owner, self.repository.name)
        fork.parent = self.repository
        main = "+refs/heads/*:refs/heads/*"
        fork.git.text("fetch", "-q", str(self.repository.git.folder), main)
        return fork

    def add_past_pulls(self, count: int, login: str, *, merged: bool = True) -> None:
        """Add pull requests of former times, merged or closed, without a branch of their own."""
        user, repository, now = self.user(login), self.repository, self.clock.now()
        head = repository.git.branch("main")
        assert user is not None, f"there is no {login}"
        assert head is not None, "main has no commit yet"
        for number in range(len(repository.issues) + 1, len(repository.issues) + count + 1):
            repository.issues[number] = Pull(
                id=self.new_id(),
                number=number,
                title=f"Past {number}",
                body=None,
                user=user,
                created=now,
                updated=now,
                state="closed",
                closed=now,
                source=repository,
                branch=f"past/{number}",
                head=head,
                base="main",
                base_sha=head,
                merged=now if merged else None,
                merged_by=user if merged else None,
                merge_commit=head if merged else None,
            )

    def _add_repository(self, owner: User, name: str) -> RepositoryState:
        folder = self.folder / owner.login / f"{name}.git"
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = RepositoryState(id=self.new_id(), owner=owner, name=name, git=Repository(folder))
        self.repositories[made.full_name.lower()] = made
        return made

    # What goes wrong.

    def queue(self, *faults: Fault | AsyncMerge) -> None:
        """Let things go wrong, in this order where several wait for the same request."""
        with self.lock:
            self._faults += [fault for fault in faults if isinstance(fault, Fault)]
            self.merge_outcomes += [one for one in faults if isinstance(one, AsyncMerge)]

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Return the fault that hits a request, if any; what faults do is done on the way."""
        with self.lock:
            for fault in [fault for fault in self._faults if fault.meets(method, path)]:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if not fault.times:
                    self._faults.remove(fault)
                if fault.act is not None:
                    fault.act()
                if fault.status or fault.drop:
                    return fault
        return None

    def problem(self, text: str) -> None:
        """Note that a request or an answer broke GitHub's document."""
        self.problems.append(text)

    # What came.

    @property
    def log(self) -> list[LogEntry]:
        """Every request, in order."""
        return self.ledger.log

    def calls(self, method: str = "", path: str = "", *, status: int | None = None) -> int:
        """Return how many requests came whose path has `path` in it; 304s cost nothing."""
        return self.ledger.count(method, path, status=status)

    def new_id(self) -> int:
        """Return an id that nothing has yet."""
        self._ids += 1
        return self._ids

    # What routes ask.

    def association(self, repository: RepositoryState, user: User) -> str:
        """Return how a user stands to a repository; it says nothing of what they may do."""
        if user.id == repository.owner.id:
            return "OWNER"
        return "COLLABORATOR" if user.id in repository.roles else "NONE"

    def app_document(self, app: App | None) -> Json:
        """Return an App; without one GitHub Actions, which is an App too."""
        if app is None:
            bot = self.ghost
            app = App(
                id=15368, slug="github-actions", bot=bot, installation=0, permissions={}, key=""
            )
        return self.shapes.app(app, self.organization)

    def merge_refusals(
        self, repository: RepositoryState, pull: Pull, token: Token | None = None
    ) -> list[str]:
        """Return why the rules do not let a pull request be merged."""
        return merge_refusals(self, repository, pull, token)

    def finish_run(self, number: int, conclusion: str = "success") -> None:
        """Let the run of a workflow end."""
        run = self.repository.runs[number]
        run |= {"status": "completed", "conclusion": conclusion}
        run["updated_at"] = self.clock.text()

    # The end.

    def verify(self) -> None:
        """Raise what broke GitHub's document since the last time, and forget it."""
        problems, self.problems = self.problems, []
        assert not problems, "not what GitHub's OpenAPI document allows:\n" + "\n".join(problems)

    def close(self) -> None:
        """Stop serving."""
        self.server.stop()
        self.deliveries.stop()
        for repository in self.repositories.values():
            repository.git.close()
