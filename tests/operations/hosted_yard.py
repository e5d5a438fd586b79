"""The tests' yard with its pull requests on a forge that has an API."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from contract.stages import BOT, HostedStage, checkout
from fakes.github import FakeGitHub
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.operations.hosted_forges import build_forge
from modelyard.operations.workspace import Workspace
from operations.yard import SHORT, Yard, new_yard


@dataclass
class HostedYard(Yard):
    """The tests' yard, with its pull requests on the forge of the settings."""

    settings: Repository = field(default_factory=Repository)

    def workspace(self, clone: str = "clone") -> Workspace:
        made = super().workspace(clone)
        pulls, desk = build_forge(self.git, self.settings, self.clock)
        settings = replace(self.settings, artifacts=made.services.repository.artifacts)
        services = replace(made.services, repository=settings, pulls=pulls, desk=desk)
        other = replace(made, services=services)
        other.__dict__["registry"] = made.registry
        return other

    def main(self) -> str:
        found = self.git.ls_remote("origin", ["refs/heads/main"])["refs/heads/main"]
        self.git.fetch("origin", ["+refs/heads/*:refs/seen/*"])
        return found


@dataclass
class GitHubYard:
    """A yard on the fake GitHub, and people who use its API."""

    fake: FakeGitHub
    yard: HostedYard
    people: HostedStage

    def pull(self, branch: str):
        """The open pull request of a branch."""
        return next(each for each in self.people.again().open() if each.branch == branch)


def checkout_on_github(fake: FakeGitHub, folder: Path, settings: str) -> Path:
    """A checkout whose main branch is on the fake GitHub, with these settings in it alone."""
    local = new_yard(folder / "yard", SHORT)
    git, main = local.git, "refs/remotes/origin/main"
    git.run("fetch", "-q", "origin")
    git.run("push", "-q", str(fake.repository.git.folder), f"{main}:refs/heads/main")
    git.run("remote", "set-url", "origin", fake.git_url())
    git.run("checkout", "-q", "-B", "main", main)
    root = local.folder / "clone"
    (root / "modelyard.yaml").write_text(settings)
    return root


def yard_on_github(local: Yard, fake: FakeGitHub, folder: Path, *, app: bool = False) -> GitHubYard:
    """The yard with all its branches on the fake GitHub, where `ann` and `bob` may write.

    Args:
        local: A yard; its checkout is given the new remote.
        fake: The fake.
        folder: For the people's checkouts.
        app: Whether the tool is a GitHub App rather than a person's account.
    """
    roles = {BOT: "admin", "ann": "write", "bob": "write", "ada": "write", "rex": "read"}
    tokens = {name: fake.add_person(name, role) for name, role in roles.items()}
    os.environ["MODELYARD_FORGE_TOKEN"] = tokens[BOT]
    bot = BOT
    if app:
        made = fake.add_app(
            "modelyard",
            **dict.fromkeys(
                ("contents", "pull_requests", "issues", "statuses", "checks", "deployments"),
                "write",
            ),
        )
        key = folder / "app.pem"
        key.write_text(made.key)
        os.environ["MODELYARD_APP_ID"] = str(made.id)
        os.environ["MODELYARD_APP_KEY_FILE"] = str(key)
        os.environ["MODELYARD_APP_INSTALLATION"] = str(made.installation)
        bot, tokens[BOT] = "modelyard[bot]", fake.installation_token(made)
    local.git.run("remote", "set-url", "origin", str(local.folder / "remote.git"))
    local.git.fetch("origin", ["+refs/heads/*:refs/seen/*"])
    local.git.run("push", "-q", str(fake.repository.git.folder), "refs/seen/*:refs/heads/*")
    local.git.run("remote", "set-url", "origin", fake.git_url(tokens[BOT]))
    settings = Repository(
        forge=ForgeKind.GITHUB, forge_uri=fake.url, forge_repository="acme/yard", bot=bot
    )
    yard = HostedYard(folder=local.folder, environments=local.environments, settings=settings)
    pulls, desk = build_forge(yard.git, settings, yard.clock)
    people = HostedStage(
        git=checkout(folder / "people", fake.git_url(tokens["ann"])),
        pulls=pulls,
        desk=desk,
        repository=settings,
        tokens=tokens,
        urls={name: fake.git_url(token) for name, token in tokens.items()},
        api=fake.url,
        folder=folder,
        words={True: "APPROVE", False: "REQUEST_CHANGES"},
    )
    return GitHubYard(fake=fake, yard=yard, people=people)
