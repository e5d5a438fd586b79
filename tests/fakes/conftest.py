from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fakes.clients import Api
from fakes.github import FakeGitHub


@pytest.fixture
def api(fake_github: FakeGitHub) -> Iterator[Callable[..., Api]]:
    """Gives the REST API as a token sees it."""
    made: dict[str, Api] = {}

    def give(token: str = "") -> Api:
        if token not in made:
            made[token] = Api(fake_github, token)
        return made[token]

    yield give
    for one in made.values():
        one.close()
