"""Which of several watchers acts: the one that holds a Lease."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import Any

from modelyard.adapters.kubernetes_api import KubernetesApi

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15
RENEW_SECONDS = 10
RETRY_SECONDS = 2
"""A watcher that died is replaced after the first; one that cannot renew stops after the second."""


class KubernetesLease:
    """A Lease that a thread takes and keeps, by the client library's own election.

    Args:
        namespace: Where it is.
        name: Its name.
        api: The cluster.
    """

    def __init__(self, namespace: str, name: str, api: KubernetesApi) -> None:
        self._held = threading.Event()
        api.become_default()
        threading.Thread(
            target=self._stand, args=(namespace, name), daemon=True, name="lease"
        ).start()

    def is_held(self) -> bool:
        """Whether this process is the one that acts."""
        return self._held.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for so long to be the one that acts."""
        return self._held.wait(seconds)

    def _stand(self, namespace: str, name: str) -> None:
        from kubernetes.leaderelection import electionconfig, leaderelection
        from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

        logging.getLogger("leaderelection").setLevel(logging.WARNING)
        config: Any = electionconfig.Config  # neither has types
        election: Any = leaderelection.LeaderElection
        lock: Any = LeaseLock
        candidate = f"{socket.gethostname()}_{os.getpid()}"
        while True:
            try:
                election(
                    config(
                        lock(name, namespace, candidate),
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
