"""The forges that keep the contract, each with people who act on it as they really would."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from e2e.forge.site import Site
from fakes.github import FakeGitHub
from git_commits import write_commit
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.forge.local.forge import LocalForge
from modelyard.adapters.forge.local.pulls import LocalPulls
from modelyard.adapters.git.repository import Git
from modelyard.domain.promotion.approvals import find_approvers
from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.operations.hosted_forges import build_forge
from modelyard.ports import Desk, PullRequests

BOT = "yard-bot"
START = {
    "modelyard.yaml": "apiVersion: modelyard/v1\nkind: Repository\nbot: yard-bot\n",
    "README.md": "A yard.\n",
    "environments/dev/releases/m.yaml": "version: v1\n",
}


class Stage(Protocol):
    """One forge with a repository, the people `ann` and `bob`, and a reader `rex`.

    A hosted one has an admin `olga` too.
    """

    git: Git
    pulls: PullRequests
    desk: Desk

    def again(self) -> PullRequests:
        """Return the forge as another process of the tool sees it."""
        ...

    def push(self, branch: str, documents: dict[str, bytes], by: str) -> str:
        """Push a commit on a branch as a person; returns it."""
        ...

    def open(self, branch: str, by: str) -> int:
        """Open a pull request as a person; returns its number."""
        ...

    def review(self, number: int, sha: str, by: str, *, approved: bool = True) -> None:
        """Review a commit as a person."""
        ...

    def say(self, number: int, body: str, by: str) -> None:
        """Comment as a person."""
        ...

    def set_status(self, sha: str, context: str, by: str) -> None:
        """Set a status to success as a person, as far as the forge allows that."""
        ...


def _start_of(
    git: Git, documents: dict[str, bytes], branch: str, by: str
) -> tuple[str | None, str]:
    before = git.ls_remote("origin", [f"refs/heads/{branch}", "refs/heads/main"])
    base = before.get(f"refs/heads/{branch}") or before["refs/heads/main"]
    git.fetch("origin", ["+refs/heads/*:refs/seen/*"])
    author = f"{by} <{by}@example.org>"
    head = write_commit(
        git,
        base,
        documents,
        parents=[base],
        message="By hand",
        author=author,
        at=SystemClock().now(),
    )
    return before.get(f"refs/heads/{branch}"), head


@dataclass(kw_only=True)
class LocalStage:
    """The local forge: a bare repository."""

    git: Git
    desk: LocalForge
    pulls: LocalPulls

    @classmethod
    def make(cls, folder: Path) -> LocalStage:
        subprocess.run(["git", "init", "-q", "--bare", str(folder / "remote.git")], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", str(folder / "clone")], check=True)
        git = Git(folder / "clone")
        git.run("remote", "add", "origin", str(folder / "remote.git"))
        push_start(git)
        desk = LocalForge(git, Repository(bot=BOT), SystemClock())
        return cls(git=git, desk=desk, pulls=LocalPulls(git=git, forge=desk, bot=BOT))

    def again(self) -> PullRequests:
        return LocalPulls(
            git=self.git, forge=LocalForge(self.git, Repository(bot=BOT), SystemClock()), bot=BOT
        )

    def push(self, branch: str, documents: dict[str, bytes], by: str) -> str:
        before, head = _start_of(self.git, documents, branch, by)
        self.git.push("origin", {f"refs/heads/{branch}": (before, head)})
        return head

    def open(self, branch: str, by: str) -> int:
        return self.desk.open_branch(branch, title="By hand", body="", author=by).number

    def review(self, number: int, sha: str, by: str, *, approved: bool = True) -> None:
        self.desk.review(number, sha=sha, by=by, approved=approved)

    def say(self, number: int, body: str, by: str) -> None:
        self.desk.comment(number, by=by, body=body)

    def set_status(self, sha: str, context: str, by: str) -> None:
        """Nobody sets a status of this forge but through the tool."""


@dataclass(kw_only=True)
class HostedStage:
    """A forge with an API, and people with tokens.

    Args:
        git: The tool's checkout.
        pulls: The forge as the tool uses it.
        desk: The forge as a person uses it at the command line.
        repository: The settings.
        tokens: By person.
        urls: The address to clone from, by person.
        api: The API's address.
        folder: For the people's checkouts.
        words: The forge's words for reviews.
    """

    git: Git
    pulls: PullRequests
    desk: Desk
    repository: Repository
    tokens: dict[str, str]
    urls: dict[str, str]
    api: str
    folder: Path
    words: dict[bool, str]

    def again(self) -> PullRequests:
        return build_forge(self.git, self.repository, SystemClock())[0]

    def push(self, branch: str, documents: dict[str, bytes], by: str) -> str:
        git = checkout(self.folder / by, self.urls[by])
        before, head = _start_of(git, documents, branch, by)
        git.push("origin", {f"refs/heads/{branch}": (before, head)})
        return head

    def open(self, branch: str, by: str) -> int:
        body = {"title": "By hand", "head": branch, "base": "main", "body": ""}
        return int(self.ask("POST", "/pulls", body, by)["number"])

    def review(self, number: int, sha: str, by: str, *, approved: bool = True) -> None:
        body = {"commit_id": sha, "event": self.words[approved], "body": "seen"}
        self.ask("POST", f"/pulls/{number}/reviews", body, by)

    def say(self, number: int, body: str, by: str) -> None:
        self.ask("POST", f"/issues/{number}/comments", {"body": body}, by)

    def write_comment(self, number: int, body: str, by: str) -> Path:
        """Write a comment; returns the file of the event that a workflow is started with."""
        row = self.ask("POST", f"/issues/{number}/comments", {"body": body}, by)
        event = {
            "action": "created",
            "repository": {"id": 1},
            "issue": {"number": number, "pull_request": {}},
            "comment": row,
        }
        file = self.folder / f"event-{row['id']}.json"
        file.write_text(json.dumps(event))
        return file

    def set_status(self, sha: str, context: str, by: str) -> None:
        body = {"state": "success", "context": context, "description": "trust me"}
        self.ask("POST", f"/statuses/{sha}", body, by)

    def write_settings(self) -> None:
        """Write settings into the tool's checkout that name this forge."""
        known = self.repository
        (self.git.root / "modelyard.yaml").write_text(
            "apiVersion: modelyard/v1\nkind: Repository\n"
            f"bot: {known.bot}\nforge: {known.forge}\nforge_uri: {known.forge_uri}\n"
            f"forge_repository: {known.forge_repository}\n"
        )

    def retarget(self, number: int, base: str, by: str) -> None:
        """Give a pull request another base branch, as a person."""
        self.ask("PATCH", f"/pulls/{number}", {"base": base}, by)

    def merge(self, number: int, sha: str, by: str, how: str = "merge", text: str = "") -> None:
        """Merge on the page of the pull request, as a person: `merge`, `squash` or `rebase`.

        With a text, the person types it as the body of the commit's message.
        """
        path = f"/pulls/{number}/merge"
        if self.repository.forge != ForgeKind.GITEA:
            typed = {"commit_message": text} if text else {}
            self.ask("PUT", path, {"sha": sha, "merge_method": how, **typed}, by)
            return
        typed = {"MergeMessageField": text} if text else {}
        body, deadline = {"Do": how, "head_commit_id": sha, **typed}, time.monotonic() + 30
        # Gitea looks at a pull request for a moment before it merges it.
        while "try again later" in (answer := self._send("POST", path, body, by)).text:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)
        assert answer.is_success, answer.text

    def ask(self, method: str, path: str, body: Any, by: str) -> Any:
        answer = self._send(method, path, body, by)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, body: Any, by: str) -> httpx.Response:
        return httpx.request(
            method,
            f"{self.api}/repos/{self.repository.forge_repository}{path}",
            json=body,
            headers={"Authorization": f"token {self.tokens[by]}"},
            timeout=30,
        )


def settled(stage: Stage, pull: PullRequest) -> PullRequest:
    """Read a pull request once its forge has recorded who pushed this head.

    A forge may take a moment for that; until then nobody's approval counts.
    """
    deadline = time.monotonic() + 20
    while (seen := stage.again().get(pull.number)).unmapped or seen.head != pull.head:
        assert find_approvers(seen) == frozenset()
        assert time.monotonic() < deadline, f"#{pull.number} has {seen.head}, pushed by unknown"
        time.sleep(0.1)
    return seen


def push_start(git: Git, *, commits: int = 1) -> None:
    """Give a repository its first commits."""
    documents = {path: text.encode() for path, text in START.items()}
    tip: list[str] = []
    for number in range(commits):
        more = documents | {"docs/number.md": f"{number}\n".encode()} if number else documents
        start = write_commit(
            git, None, more, parents=tip, message="Start", author="ann", at=SystemClock().now()
        )
        tip = [start]
    git.push("origin", {"refs/heads/main": (None, tip[0])})


def checkout(folder: Path, url: str) -> Git:
    """A checkout with the remote `origin`, made if it is not there."""
    if not folder.exists():
        subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
        Git(folder).run("remote", "add", "origin", url)
    return Git(folder)


def github_stage(fake: FakeGitHub, folder: Path) -> HostedStage:
    """The fake GitHub, whose Git is real and whose answers GitHub's own document allows."""
    roles = {BOT: "admin", "olga": "admin", "ann": "write", "bob": "write", "rex": "read"}
    tokens = {name: fake.add_person(name, role) for name, role in roles.items()}
    repository = Repository(
        forge=ForgeKind.GITHUB, forge_uri=fake.url, forge_repository="acme/yard", bot=BOT
    )
    fake.seed(dict(START), author="ann")
    os.environ["MODELYARD_FORGE_TOKEN"] = tokens[BOT]
    git = checkout(folder / "clone", fake.git_url(tokens[BOT]))
    pulls, desk = build_forge(git, repository, SystemClock())
    return HostedStage(
        git=git,
        pulls=pulls,
        desk=desk,
        repository=repository,
        tokens=tokens,
        urls={name: fake.git_url(token) for name, token in tokens.items()},
        api=fake.url,
        folder=folder,
        words={True: "APPROVE", False: "REQUEST_CHANGES"},
    )


def gitea_stage(site: Site, folder: Path, *, commits: int = 1) -> HostedStage:
    """A real Gitea; its main branch has that many commits."""
    seed = folder / "seed.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(seed)], check=True)
    push_start(checkout(folder / "first", str(seed)), commits=commits)
    repository = site.new_repository(seed)
    repository.protect_main(statuses=[])
    people = (BOT, "olga", "ann", "bob", "rex")
    settings = Repository(
        forge=ForgeKind.GITEA,
        forge_uri=f"{site.url}/api/v1",
        forge_repository=f"acme/{repository.name}",
        bot=BOT,
    )
    os.environ["MODELYARD_FORGE_TOKEN"] = site.token(BOT)
    git = checkout(folder / "clone", repository.clone_url(BOT))
    pulls, desk = build_forge(git, settings, SystemClock())
    return HostedStage(
        git=git,
        pulls=pulls,
        desk=desk,
        repository=settings,
        tokens={name: site.token(name) for name in people},
        urls={name: repository.clone_url(name) for name in people},
        api=f"{site.url}/api/v1",
        folder=folder,
        words={True: "APPROVED", False: "REQUEST_CHANGES"},
    )
