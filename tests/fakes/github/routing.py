"""What a route is given and what it answers: calls, answers, refusals, pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fakes.github.shapes import Shapes
from fakes.github.state import ROLES, Issue, Pull, RepositoryState, Token

if TYPE_CHECKING:
    from fakes.github.fake import FakeGitHub

LARGEST_PAGE = 100
USUAL_PAGE = 30


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The fake says no.

    Args:
        status: The HTTP status.
        message: The message, in GitHub's words.
        errors: The particulars of a 422.
        headers: Headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: Iterable[Mapping[str, str] | str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: dict[str, Any] = {
            "message": message,
            "documentation_url": "https://docs.github.com/rest",
            "status": str(status),
        }
        if errors:
            self.body["errors"] = list(errors)


def not_valid(resource: str, **error: str) -> Refused:
    """Return the refusal of a request that is well formed and yet wrong."""
    return Refused(422, "Validation Failed", errors=[{"resource": resource, **error}])


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer; a `body` of None is no body."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that is known to be well formed.

    Args:
        fake: The fake.
        token: Who asks; None without a token.
        names: The names in the path.
        query: The parameters of the query.
        body: The body, {} if there is none.
        url: Where it was sent, without the query.
        shapes: Makes documents with URLs of this server.
    """

    fake: FakeGitHub
    token: Token | None
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    url: str
    shapes: Shapes

    @property
    def who(self) -> Token:
        """Return who asks.

        Raises:
            Refused: There is no token.
        """
        if self.token is None:
            raise Refused(401, "Requires authentication")
        return self.token

    @property
    def repository(self) -> RepositoryState:
        """Return the repository that the path names, if the token may know of it."""
        found = self.fake.repositories.get(f"{self.names['owner']}/{self.names['repo']}".lower())
        if found is None or not self._sees(found):
            raise Refused(404, "Not Found")
        return found

    def _sees(self, repository: RepositoryState) -> bool:
        if self.token is None:
            return not repository.private
        if self.token.permissions is not None:
            return True
        return repository.role(self.token.user) != "none"

    def need(self, role: str, permission: str, *, level: str = "write") -> RepositoryState:
        """Return the repository, if the token has the role there or, of an App, the permission."""
        repository = self.repository
        token = self.who
        if token.permissions is not None:
            held = token.permissions.get(permission)
            if held is None or (level == "write" and held == "read"):
                raise Refused(403, "Resource not accessible by integration")
        elif ROLES.index(repository.role(token.user)) < ROLES.index(role):
            raise Refused(403, f"Must have {role} rights to Repository.")
        return repository

    def number(self, name: str) -> int:
        """Return a number of the path."""
        if not self.names[name].isascii() or not self.names[name].isdigit():
            raise Refused(404, "Not Found")
        return int(self.names[name])

    @property
    def issue(self) -> Issue:
        """Return the issue or pull request that the path names."""
        issue = self.repository.issues.get(self.number("issue_number"))
        if issue is None:
            raise Refused(404, "Not Found")
        return issue

    @property
    def pull(self) -> Pull:
        """Return the pull request that the path names."""
        pull = self.repository.pulls.get(self.number("pull_number"))
        if pull is None:
            raise Refused(404, "Not Found")
        return pull

    def page(
        self, items: Iterable[Any], *, wrap: Callable[[list[Any]], Any] | None = None
    ) -> Answer:
        """Return the page of a list that is asked for, with links to the others.

        Args:
            items: The whole list; callables are called for those on the page only.
            wrap: Makes the body of the items, for lists that are wrapped.
        """
        whole = list(items)
        most = min(self.fake.largest_page, LARGEST_PAGE)
        size = max(1, min(int(self.query.get("per_page") or USUAL_PAGE), most))
        number = max(1, int(self.query.get("page") or 1))
        last = max(1, -(-len(whole) // size))
        shown = whole[(number - 1) * size : number * size]
        made = [item() if callable(item) else item for item in shown]
        links = []
        if number > 1:
            links += [("prev", min(number - 1, last)), ("first", 1)]
        if number < last:
            links += [("next", number + 1), ("last", last)]
        text = ", ".join(f'<{self._page_url(at)}>; rel="{name}"' for name, at in links)
        return Answer(body=wrap(made) if wrap else made, headers={"Link": text} if text else {})

    def _page_url(self, number: int) -> str:
        return f"{self.url}?{urlencode({**self.query, 'page': str(number)})}"


Route = Callable[[Call], Answer]

ROUTES: dict[tuple[str, str], Route] = {}


def route(method: str, template: str) -> Callable[[Route], Route]:
    """Register what answers an operation; `~` is a repository."""

    def register(function: Route) -> Route:
        ROUTES[method, template.replace("~", "/repos/{owner}/{repo}", 1)] = function
        return function

    return register
