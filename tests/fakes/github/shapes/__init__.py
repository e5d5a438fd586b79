"""Documents in GitHub's shape: what the fake knows, and filling of the right type elsewhere.

The filling (`""`, 0, false, null, a time in 1970, a URL that leads nowhere) is what a client must
not use: a test that depends on it depends on nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from fakes.github.clock import Clock
from fakes.github.contract import document
from fakes.github.git.objects import Commit, Signature
from fakes.github.state import App, RepositoryState, User

Json = dict[str, Any]

FILLING = {
    "date-time": "1970-01-01T00:00:00Z",
    "uri": "https://filling.invalid/",
    "uri-template": "https://filling.invalid/",
    "email": "filling@filling.invalid",
}


def fill(schema: str, known: Mapping[str, Any]) -> Json:
    """Return a document of a schema: what is known, and filling for all else that it requires."""
    return {**_filling_of(schema), **known}


@cache
def _filling_of(schema: str) -> Json:
    filled = _filled({**document()["components"]["schemas"][schema], "nullable": False})
    assert isinstance(filled, dict), f"{schema} is no object"
    return filled


def _filled(node: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - a case a kind of schema
    if "$ref" in node:
        return _filled(document()["components"]["schemas"][node["$ref"].rsplit("/", 1)[1]])
    if node.get("nullable"):
        return None
    if "enum" in node:
        return node["enum"][0]
    if "allOf" in node:
        return {key: value for one in node["allOf"] for key, value in _filled(one).items()}
    for key in ("oneOf", "anyOf"):
        if key in node:
            return _filled(node[key][0])
    if node.get("type") == "object" or "properties" in node:
        properties = node.get("properties", {})
        return {name: _filled(properties.get(name, {})) for name in node.get("required", ())}
    plain = {"array": [], "boolean": False, "integer": 0, "number": 0}
    if node.get("type") in plain:
        return plain[node["type"]]
    return FILLING.get(node.get("format", ""), "")


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Makes documents.

    Args:
        api: The URL of the REST API, without a slash at the end.
        html: The URL of the pages and of Git.
        clock: Writes times.
        users: Finds the user of an e-mail address.
    """

    api: str
    html: str
    clock: Clock
    users: Mapping[str, User]

    def time(self, seconds: float | None) -> str | None:
        """Return a time, or None if it has not come."""
        return None if seconds is None else self.clock.text(seconds)

    def user(self, user: User, schema: str = "simple-user", **more: Any) -> Json:
        """Return a user."""
        letter = {"Bot": "BOT", "Organization": "O"}.get(user.type, "U")
        page = f"apps/{user.login.removesuffix('[bot]')}" if user.type == "Bot" else user.login
        known = {
            "login": user.login,
            "id": user.id,
            "node_id": f"{letter}_{user.id}",
            "type": user.type,
            "url": f"{self.api}/users/{quote(user.login)}",
            "html_url": f"{self.html}/{page}",
            "avatar_url": f"{self.html}/avatars/{user.id}",
            "gravatar_id": "",
            "site_admin": False,
        }
        return fill(schema, {**known, **more})

    def repository(self, repo: RepositoryState, schema: str = "repository", **more: Any) -> Json:
        """Return a repository."""
        url = f"{self.api}/repos/{repo.full_name}"
        known = {
            "id": repo.id,
            "node_id": f"R_{repo.id}",
            "name": repo.name,
            "full_name": repo.full_name,
            "owner": self.user(repo.owner),
            "private": repo.private,
            "visibility": "private" if repo.private else "public",
            "fork": repo.parent is not None,
            "url": url,
            "html_url": f"{self.html}/{repo.full_name}",
            "clone_url": f"{self.html}/{repo.full_name}.git",
            "default_branch": "main",
        }
        return fill(schema, {**known, **more})

    def app(self, app: App, owner: User) -> Json:
        """Return a GitHub App."""
        known = {
            "id": app.id,
            "slug": app.slug,
            "node_id": f"A_{app.id}",
            "name": app.slug,
            "owner": self.user(owner),
            "html_url": f"{self.html}/apps/{app.slug}",
            "permissions": app.permissions,
            "events": [],
        }
        return fill("integration", known)

    def commit(self, commit: Commit, repo: RepositoryState, **more: Any) -> Json:
        """Return a commit; author and committer are null unless GitHub knows their address."""
        url = f"{self.api}/repos/{repo.full_name}/commits/{commit.sha}"
        known = {
            "sha": commit.sha,
            "node_id": f"C_{commit.sha}",
            "url": url,
            "html_url": f"{self.html}/{repo.full_name}/commit/{commit.sha}",
            "commit": {
                "author": self._signature(commit.author),
                "committer": self._signature(commit.committer),
                "message": commit.message,
                "tree": {"sha": commit.tree, "url": f"{self.api}/trees/{commit.tree}"},
                "url": url,
                "comment_count": 0,
                "verification": {
                    "verified": False,
                    "reason": "unsigned",
                    "payload": None,
                    "signature": None,
                    "verified_at": None,
                },
            },
            "author": self._known_user(commit.author),
            "committer": self._known_user(commit.committer),
            "parents": [{"sha": sha, "url": url, "html_url": url} for sha in commit.parents],
        }
        return fill("commit", {**known, **more})

    def _signature(self, signature: Signature) -> Json:
        return {
            "name": signature.name,
            "email": signature.email,
            "date": self.clock.text(signature.time),
        }

    def _known_user(self, signature: Signature) -> Json | None:
        user = self.users.get(signature.email.lower())
        return self.user(user) if user else None

    def label(self, label: Mapping[str, Any], repo: RepositoryState) -> Json:
        """Return a label."""
        url = f"{self.api}/repos/{repo.full_name}/labels/{quote(label['name'], safe='')}"
        return fill("label", {**label, "url": url, "default": False})
