"""Gitea's API as one of its people calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx


class ApiError(AssertionError):
    """An answer that is an error: its status, and what Gitea says."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status} {said}")
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Api:
    """Requests with one person's token; paths are below /api/v1."""

    client: httpx.Client
    token: str

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        return self.ask("POST", path, body)

    def put(self, path: str, **body: Any) -> Any:
        return self.ask("PUT", path, body)

    def patch(self, path: str, **body: Any) -> Any:
        return self.ask("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", path)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's document, or None where it has none.

        Raises:
            ApiError: The status is not one of success.
        """
        headers = {"Authorization": f"token {self.token}"}
        answer = self.client.request(method, f"/api/v1/{path}", json=body, headers=headers)
        if answer.is_error:
            raise ApiError(answer.status_code, answer.text)
        return answer.json() if answer.content else None
