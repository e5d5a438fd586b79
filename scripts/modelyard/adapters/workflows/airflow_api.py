"""Requests to Airflow's REST API: signed in, signed in again, with clear errors."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx

from modelyard.errors import CannotAnswer, LostAnswer, Refused

TOKEN = "MODELYARD_AIRFLOW_TOKEN"
USER = "MODELYARD_AIRFLOW_USER"
PASSWORD = "MODELYARD_AIRFLOW_PASSWORD"

# A scheduler at work on a small machine keeps its database busy for long.
_SECONDS = httpx.Timeout(60.0, connect=5.0)
_NOT_SIGNED_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LONGEST_DETAIL = 300


class AirflowApi:
    """Airflow's REST API, version 2.

    Args:
        uri: Airflow's address, maybe with a path.
        token: A token that somebody else renews; otherwise `user` and `password` get one.
        user: Who signs in.
        password: Their password.
    """

    def __init__(
        self,
        uri: str,
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        self._uri = uri.rstrip("/")
        self._user, self._password = user, password
        self._token = token
        self._client = httpx.Client(base_url=self._uri, timeout=_SECONDS)
        weakref.finalize(self, self._client.close)

    @classmethod
    def from_environment(cls, uri: str) -> AirflowApi:
        """The API with the credentials of the environment's variables."""
        return cls(
            uri,
            token=os.environ.get(TOKEN),
            user=os.environ.get(USER),
            password=os.environ.get(PASSWORD),
        )

    def get(self, path: str, **query: str | int) -> Any:
        """The document at a path below `/api/v2`, or None where nothing is.

        Raises:
            CannotAnswer: Airflow is out of reach, or refuses.
        """
        answer = self._ask("GET", path, query=query)
        return None if answer.status_code == HTTPStatus.NOT_FOUND else _document(answer)

    def post(self, path: str, body: Mapping[str, Any]) -> bool:
        """Create something; False if it exists already.

        Raises:
            Refused: What is asked for is not acceptable.
            CannotAnswer: Airflow is out of reach, or refuses.
        """
        answer = self._ask("POST", path, body=body)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise CannotAnswer(
                f"{self._name} has not what {path} needs: {_detail(answer)}",
                hint="let Airflow read workflows/airflow/modelyard_dags.py of this repository",
            )
        return answer.status_code != HTTPStatus.CONFLICT

    def read_lines(self, path: str) -> Iterator[Mapping[str, Any]]:
        """The JSON documents of an answer that has one a line, such as a log.

        Raises:
            CannotAnswer: Airflow is out of reach, or refuses.
        """
        headers = {"Accept": "application/x-ndjson", **self._signed()}
        with self._reaching(), self._client.stream("GET", _below(path), headers=headers) as answer:
            if answer.status_code != HTTPStatus.OK:
                raise CannotAnswer(f"{self._name} answered {answer.status_code} for {path}")
            for line in filter(None, answer.iter_lines()):
                try:
                    document = json.loads(line)
                except ValueError as error:
                    raise CannotAnswer(f"{self._name} answered with no JSON") from error
                if isinstance(document, dict):
                    yield document

    @property
    def _name(self) -> str:
        return f"Airflow at {self._uri}"

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        with self._reaching():
            answer = self._request(method, path, query, body)
            # A token that is too old is answered like rights that are missing.
            if answer.status_code in _NOT_SIGNED_IN and self._user is not None:
                self._token = None
                answer = self._request(method, path, query, body)
        status = answer.status_code
        if status in _NOT_SIGNED_IN:
            raise CannotAnswer(
                f"{self._name} refuses {method} {path}: {_detail(answer)}",
                hint=f"set {USER} and {PASSWORD}, or {TOKEN}, of somebody who may start DAG runs",
            )
        if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise Refused(f"{self._name} refuses {method} {path}: {_detail(answer)}")
        if status >= HTTPStatus.BAD_REQUEST and status not in {
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
        }:
            raise self._no_answer(f"answered {status}: {_detail(answer)}")
        return answer

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None,
        body: Mapping[str, Any] | None,
    ) -> httpx.Response:
        return self._client.request(
            method, _below(path), params=query, json=body, headers=self._signed()
        )

    def _signed(self) -> Mapping[str, str]:
        if self._token is None and self._user is not None:
            credentials = {"username": self._user, "password": self._password or ""}
            answer = self._client.post("/auth/token", json=credentials)
            if answer.status_code != HTTPStatus.CREATED:
                raise CannotAnswer(
                    f"{self._name} does not sign in {self._user}: {_detail(answer)}",
                    hint=f"set {USER} and {PASSWORD}",
                )
            self._token = str(_document(answer)["access_token"])
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise self._no_answer(f"is out of reach: {error}") from error

    def _no_answer(self, what: str) -> LostAnswer:
        return LostAnswer(f"{self._name} {what}", hint=f"curl {self._uri}/api/v2/monitor/health")


def _below(path: str) -> str:
    return f"/api/v2{path}"


def _document(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise CannotAnswer(f"{answer.url} answered {answer.status_code} with no JSON") from error


def _detail(answer: httpx.Response) -> str:
    try:
        document = answer.json()
    except ValueError:
        document = None
    detail = document.get("detail") if isinstance(document, dict) else None
    text = detail if isinstance(detail, str) else json.dumps(detail) if detail else "no reason"
    return " ".join(text.split())[:_LONGEST_DETAIL]
