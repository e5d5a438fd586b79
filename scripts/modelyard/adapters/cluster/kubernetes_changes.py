"""Waits until a Rollout, an Application or a Workflow of a model changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from modelyard.adapters.cluster.kubernetes_api import (
    APPLICATIONS,
    NAMESPACE,
    ROLLOUTS,
    WORKFLOWS,
    KubernetesApi,
    Resource,
)
from modelyard.domain.labels import MODEL
from modelyard.errors import YardError

logger = logging.getLogger(__name__)

# Ends a watch whose connection died without notice.
_STREAM_SECONDS = 240
# The watcher also polls, so a longer gap only delays it.
_LONGEST_PAUSE = 10.0


class KubernetesChanges:
    """Streams of changes, each in a thread of its own, of which only the models' names are kept.

    The caller reads the objects itself. So a broken stream only has to be opened again: it begins
    with every object there is, and those of another version than before make up for missed changes.

    Args:
        api: The cluster.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._moved: set[str] = set()
        self._wake = threading.Condition()
        self._streams: dict[tuple[str, str], threading.Thread] = {}
        self._broken: set[tuple[str, str]] = set()

    def is_open(self) -> bool:
        """Whether there are streams, and none of them ended by an error when it was opened last."""
        return bool(self._streams) and not self._broken

    def wait(self, namespaces: Iterable[str], *, argocd: str, seconds: float) -> frozenset[str]:
        """The models of which an object changed since the last call; empty when the time is over.

        Args:
            namespaces: Where Rollouts are.
            argocd: Where Applications are.
            seconds: How long to wait at most.
        """
        for resource, namespace in (
            *((ROLLOUTS, each) for each in sorted(set(namespaces))),
            (APPLICATIONS, argocd),
            (WORKFLOWS, NAMESPACE),
        ):
            self._follow(resource, namespace)
        with self._wake:
            self._wake.wait_for(lambda: self._moved, timeout=seconds)
            moved = frozenset(self._moved)
            self._moved.clear()
        return moved

    def _follow(self, resource: Resource, namespace: str) -> None:
        key = (resource.plural, namespace)
        if key not in self._streams:
            self._streams[key] = threading.Thread(
                target=self._stream, args=(resource, namespace), daemon=True, name="/".join(key)
            )
            self._streams[key].start()

    def _stream(self, resource: Resource, namespace: str) -> None:
        """Follow for ever; a stream that ends at once is opened less and less often.

        It begins with every object there is, so receiving some does not show that it works.
        """
        key, pause = (resource.plural, namespace), 0.0
        seen: dict[str, str] = {}
        while True:
            began, before, seen = time.monotonic(), seen, {}
            try:
                for changed in self._api.watch_objects(
                    resource, namespace, seconds=_STREAM_SECONDS
                ):
                    self._broken.discard(key)
                    self._note(changed.get("metadata", {}), before, seen)
                self._broken.discard(key)
            except YardError as error:
                self._broken.add(key)
                logger.warning("%s", error.message)
            except Exception:  # a thread that died would leave the watcher asleep without notice
                self._broken.add(key)
                logger.exception("watch of %s in %s", resource.plural, namespace)
            lasted = time.monotonic() - began
            pause = 0.0 if lasted > _LONGEST_PAUSE else min(max(2 * pause, 1.0), _LONGEST_PAUSE)
            time.sleep(pause)

    def _note(self, metadata: dict[str, Any], before: dict[str, str], seen: dict[str, str]) -> None:
        """Note the model of an object, unless the stream before this one brought the same."""
        name, version = metadata.get("name", ""), metadata.get("resourceVersion", "")
        is_known = bool(version) and before.get(name) == version
        seen[name] = version
        if not is_known and (model := (metadata.get("labels") or {}).get(MODEL)) is not None:
            with self._wake:
                self._moved.add(model)
                self._wake.notify_all()
