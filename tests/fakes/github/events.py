"""Events: what happened, kept for the test, and sent to webhooks with a signature."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import queue
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fakes.github.git.http import RefUpdate
from fakes.github.shapes.pulls import pull_document
from fakes.github.state import Hook, Json, Pull, RepositoryState, Token

if TYPE_CHECKING:
    from fakes.github.fake import FakeGitHub


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened.

    Args:
        name: The name of the webhook event, such as `pull_request`.
        payload: What a webhook or a workflow is given.
        starts_workflows: Whether a workflow may run: not if the token of a workflow caused it.
    """

    name: str
    payload: Json
    starts_workflows: bool

    @property
    def action(self) -> str:
        """The action of the payload, such as `opened`."""
        return str(self.payload.get("action", ""))


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery of an event to a webhook; `status` is 0 if nobody answered."""

    id: str
    event: str
    url: str
    status: int


class Deliveries:
    """Sends events to webhooks, one after the other, on a thread of its own."""

    def __init__(self) -> None:
        self.done: list[Delivery] = []
        self._waiting: queue.Queue[tuple[Hook, Event, str] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def send(self, hook: Hook, event: Event, *, delivery: str | None = None) -> None:
        """Send an event; with `delivery`, again under the id of an earlier delivery."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._waiting.put((hook, event, delivery or str(uuid.uuid4())))

    def wait(self) -> None:
        """Return when everything has been sent."""
        self._waiting.join()

    def stop(self) -> None:
        """Stop after what waits."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(timeout=15)

    def _run(self) -> None:
        while (one := self._waiting.get()) is not None:
            hook, event, identity = one
            status = _post(hook, event, identity)
            self.done.append(Delivery(id=identity, event=event.name, url=hook.url, status=status))
            self._waiting.task_done()


def _post(hook: Hook, event: Event, identity: str) -> int:
    body = json.dumps(event.payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/fake",
        "X-GitHub-Event": event.name,
        "X-GitHub-Delivery": identity,
        "X-GitHub-Hook-ID": str(hook.id),
    }
    if hook.secret:
        digest = hmac.new(hook.secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Hub-Signature-256"] = f"sha256={digest}"
    url = urlsplit(hook.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=10)
    try:
        connection.request("POST", url.path or "/", body=body, headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def emit(
    fake: FakeGitHub, repository: RepositoryState, name: str, payload: Json, token: Token | None
) -> None:
    """Note an event, and send it to the webhooks that ask for it."""
    shapes = fake.shapes
    whole = {
        **payload,
        "repository": shapes.repository(repository),
        "sender": shapes.user(token.user if token else fake.ghost),
    }
    if token is not None and token.app is not None:
        whole["installation"] = {"id": token.app.installation}
    by_workflow = token is not None and token.kind == "actions"
    always = name in {"workflow_dispatch", "repository_dispatch"}
    event = Event(name=name, payload=whole, starts_workflows=always or not by_workflow)
    fake.events.append(event)
    for hook in repository.hooks.values():
        if hook.active and (name in hook.events or "*" in hook.events):
            fake.deliveries.send(hook, event)


def emit_push(
    fake: FakeGitHub, repository: RepositoryState, update: RefUpdate, token: Token | None
) -> None:
    """Note a push of one ref."""
    payload = {
        "ref": update.ref,
        "before": update.old,
        "after": update.new,
        "created": update.creates,
        "deleted": update.deletes,
        "forced": False,
        "commits": [],
    }
    emit(fake, repository, "push", payload, token)


def emit_pull(
    fake: FakeGitHub,
    repository: RepositoryState,
    pull: Pull,
    action: str,
    token: Token | None,
    **more: Any,
) -> None:
    """Note what happened to a pull request."""
    document = pull_document(fake, repository, pull)
    payload = {"action": action, "number": pull.number, "pull_request": document, **more}
    emit(fake, repository, "pull_request", payload, token)
