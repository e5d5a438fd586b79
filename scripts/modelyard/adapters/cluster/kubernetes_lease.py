"""Elects the one watcher that acts: the one that holds a Lease."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from modelyard.adapters.cluster.kubernetes_api import KubernetesApi

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15
RENEW_SECONDS = 10
RETRY_SECONDS = 2
"""A dead watcher is replaced after the first; one that cannot renew stops after the second."""

_REQUEST_SECONDS = (2.0, 3.0)
"""To connect and to answer; the library itself would wait for ever."""

_CALLS = ("read_namespaced_lease", "create_namespaced_lease", "replace_namespaced_lease")


class KubernetesLease:
    """A Lease that a thread takes and keeps, by the client library's own election.

    Args:
        namespace: Where it is.
        name: Its name.
        api: The cluster.
    """

    def __init__(self, namespace: str, name: str, api: KubernetesApi) -> None:
        self._held = threading.Event()
        self._answered = -float("inf")
        self._is_refused = False
        api.become_default()
        threading.Thread(
            target=self._run_elections, args=(namespace, name), daemon=True, name="lease"
        ).start()

    def is_held(self) -> bool:
        """Whether this process holds the Lease and acts."""
        return self._held.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the Lease for at most so long; whether this process holds it."""
        return self._held.wait(seconds)

    def is_answered(self) -> bool:
        """Whether the cluster answered recently, and allows this process to stand for election."""
        return time.monotonic() - self._answered < 2 * LEASE_SECONDS

    def _with_timeout(self, call: Callable[..., Any], place: str) -> Callable[..., Any]:
        """The library's call with a time limit; its success is recorded."""
        from kubernetes.client import ApiException

        def asked(*args: Any, **options: Any) -> Any:
            try:
                answer = call(*args, _request_timeout=_REQUEST_SECONDS, **options)
            except ApiException as error:
                # A refusal is an answer, but not one that lets this process be elected.
                if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                    self._answered = -float("inf")
                    self._tell_refusal(place)
                raise
            self._answered, self._is_refused = time.monotonic(), False
            return answer

        return asked

    def _tell_refusal(self, place: str) -> None:
        """Say once what the cluster has to allow; the election tries again every few seconds."""
        if not self._is_refused:
            logger.error(
                "the cluster refuses this watcher the Lease %s, so it does not act: name it in the"
                " Role modelyard-watch (environments/platform/manifests/watch.yaml, resourceNames)",
                place,
            )
        self._is_refused = True

    def _lock(self, namespace: str, name: str) -> Any:
        from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

        kind: Any = LeaseLock  # it has no types
        lock = kind(name, namespace, f"{socket.gethostname()}_{os.getpid()}")
        for call in _CALLS:
            asked = self._with_timeout(getattr(lock.api_instance, call), f"{namespace}/{name}")
            setattr(lock.api_instance, call, asked)
        return lock

    def _run_elections(self, namespace: str, name: str) -> None:
        from kubernetes.leaderelection import electionconfig, leaderelection

        # It logs every renewal.
        logging.getLogger("leaderelection").setLevel(logging.WARNING)
        config: Any = electionconfig.Config  # neither has types
        election: Any = leaderelection.LeaderElection
        while True:
            try:
                election(
                    config(
                        self._lock(namespace, name),
                        lease_duration=LEASE_SECONDS,
                        renew_deadline=RENEW_SECONDS,
                        retry_period=RETRY_SECONDS,
                        onstarted_leading=self._held.set,
                        onstopped_leading=self._held.clear,
                    )
                ).run()
            except Exception as error:  # noqa: BLE001 - the library lets a lost connection through
                logger.warning("lease %s/%s: %s", namespace, name, error)
            self._held.clear()
            time.sleep(RETRY_SECONDS)
