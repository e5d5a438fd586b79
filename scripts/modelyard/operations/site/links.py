"""Addresses of what pages name: pull requests, and MLflow where it has a web server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from modelyard.domain.specs.repository import ForgeKind, Repository

_GITHUB = "https://github.com"


@dataclass(frozen=True, kw_only=True)
class Links:
    """Addresses, as the settings give them; None where there is no page."""

    repository: Repository

    def pull(self, number: int) -> str | None:
        """The page of a pull request."""
        name, forge = self.repository.forge_repository, self.repository.forge
        if forge == ForgeKind.LOCAL or name is None:
            return None
        path = "pull" if forge == ForgeKind.GITHUB else "pulls"
        return _web(f"{self._forge()}/{quote(name)}/{path}/{number}")

    def commit(self, sha: str) -> str | None:
        """The page of a commit."""
        name = self.repository.forge_repository
        if self.repository.forge == ForgeKind.LOCAL or name is None:
            return None
        return _web(f"{self._forge()}/{quote(name)}/commit/{quote(sha)}")

    @property
    def tracking(self) -> str | None:
        """MLflow's first page: the address of a run has the number of its experiment."""
        return _web(self.repository.tracking_uri)

    def _forge(self) -> str:
        # The address of an API ends in what its pages have not.
        api = self.repository.forge_uri or _GITHUB
        return api.removesuffix("/api/v3").removesuffix("/api/v1").rstrip("/")


def _web(address: str) -> str | None:
    """The address if a browser may follow it, without a password; None otherwise."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
