"""Wakes whoever waits when Rollouts, Applications or Workflows of a model change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

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

_STREAM_SECONDS = 240
_LONGEST_PAUSE = 10.0


class KubernetesChanges:
    """Streams of changes, each in a thread of its own, that leave nothing but models' names.

    What changed is not kept: whoever wakes looks for itself. So a stream that broke only has to be
    opened again; it begins with everything there is, and that makes up for what was missed.

    Args:
        api: The cluster.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._moved: set[str] = set()
        self._wake = threading.Condition()
        self._streams: dict[tuple[str, str], threading.Thread] = {}

    def wait(self, namespaces: Iterable[str], *, argocd: str, seconds: float) -> frozenset[str]:
        """The models something moved of since the last call; empty when nothing did in time.

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
        """Follow for ever; a stream that ends at once, well or not, is opened less and less often.

        It begins with everything there is, so that what it brings does not show that it works.
        """
        pause = 0.0
        while True:
            began = time.monotonic()
            try:
                for changed in self._api.changes(resource, namespace, seconds=_STREAM_SECONDS):
                    self._note(changed.get("metadata", {}).get("labels") or {})
            except YardError as error:
                logger.warning("%s", error.message)
            except Exception:  # nobody would be woken any more, and nobody would know
                logger.exception("watch of %s in %s", resource.plural, namespace)
            lasted = time.monotonic() - began
            pause = 0.0 if lasted > _LONGEST_PAUSE else min(max(2 * pause, 1.0), _LONGEST_PAUSE)
            time.sleep(pause)

    def _note(self, labels: dict[str, str]) -> None:
        if (model := labels.get(MODEL)) is not None:
            with self._wake:
                self._moved.add(model)
                self._wake.notify_all()
