"""The Kubernetes API as JSON documents: get, list, create, patch, watch and read logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypeAlias

from modelyard.errors import CannotAnswer, Conflict, LostAnswer

Object: TypeAlias = dict[str, Any]
"""One Kubernetes object, as the API server returns it."""

NAMESPACE = "modelyard"
"""Where the platform itself and its workflows run."""

# To connect and to read: a rollback waits for these calls.
_SECONDS = (3.0, 15.0)
_MERGE_PATCH = "application/merge-patch+json"
_JSON = "application/json"
_WHERE = "check the cluster's address (KUBECONFIG, or the pod's service account)"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A kind of object the API serves in namespaces.

    Args:
        version: Its API group and version, such as `argoproj.io/v1alpha1`; `v1` is the core one.
        plural: Its name in addresses, such as `rollouts`.
    """

    version: str
    plural: str

    def path(self, namespace: str, name: str | None = None, part: str | None = None) -> str:
        """The address of the kind in a namespace, of one object, or of a part of it."""
        root = "/apis" if "/" in self.version else "/api"
        words = [root, self.version, "namespaces", namespace, self.plural, name, part]
        return "/".join(word for word in words if word is not None)


APPLICATIONS = Resource(version="argoproj.io/v1alpha1", plural="applications")
APPLICATION_SETS = Resource(version="argoproj.io/v1alpha1", plural="applicationsets")
EVENTS = Resource(version="v1", plural="events")
PODS = Resource(version="v1", plural="pods")
ROLLOUTS = Resource(version="argoproj.io/v1alpha1", plural="rollouts")
WORKFLOWS = Resource(version="argoproj.io/v1alpha1", plural="workflows")


class KubernetesApi:
    """One cluster, through the official client's connection and credentials.

    In a pod these are its service account's, elsewhere those of `KUBECONFIG`'s current context.
    Every call raises `CannotAnswer` when the API server cannot be reached or refuses.
    """

    @cached_property
    def _client(self) -> Any:
        import kubernetes

        client: Any = kubernetes.client
        config: Any = kubernetes.config
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            try:
                config.load_kube_config(client_configuration=configuration)
            except (config.ConfigException, OSError) as error:
                raise CannotAnswer(f"no cluster is configured: {error}", hint=_WHERE) from error
        return client.ApiClient(configuration)

    def become_default(self) -> None:
        """Make the client library's own parts use this cluster too."""
        import kubernetes

        client: Any = kubernetes.client
        client.Configuration.set_default(self._client.configuration)

    def cluster_identity(self) -> str:
        """What tells this cluster from any other: the UID of the namespace that each one has."""
        path = "/api/v1/namespaces/kube-system"
        found = (self._request_json("GET", path) or {}).get("metadata", {}).get("uid")
        if not isinstance(found, str) or not found:
            raise CannotAnswer(f"no UID in the answer to GET {path}", hint=_WHERE)
        return found

    def get_object(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """One object, or None when there is none of that name."""
        return self._request_json("GET", resource.path(namespace, name), missing=True)

    def list_objects(
        self, resource: Resource, namespace: str, *, labels: Mapping[str, str]
    ) -> tuple[Object, ...]:
        """The objects of a namespace that carry all of these labels."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        query = [("labelSelector", selector)]
        found = self._request_json("GET", resource.path(namespace), query=query)
        return tuple((found or {}).get("items") or ())

    def create_object(self, resource: Resource, namespace: str, document: Object) -> bool:
        """Create an object; False when one of that name exists already."""
        try:
            self._request_json("POST", resource.path(namespace), body=document)
        except Conflict:
            return False
        return True

    def patch_object(
        self, resource: Resource, namespace: str, name: str, change: Object, *,
        part: str | None = None,
    ) -> Object:  # fmt: skip
        """Merge a change into an object, or into a part of it such as `status`; returns it.

        `Conflict` when the change names an outdated `resourceVersion`.
        """
        return self._request_json("PATCH", resource.path(namespace, name, part), body=change) or {}

    def read_log(self, namespace: str, pod: str, *, container: str, lines: int) -> str:
        """The last lines that a pod's container wrote."""
        # A step may print megabytes; only its end matters.
        query = [("container", container), ("tailLines", str(lines)), ("limitBytes", "65536")]
        response = self._request("GET", PODS.path(namespace, pod, "log"), query=query)
        return bytes(response.data).decode("utf-8", "replace")

    def watch_objects(
        self, resource: Resource, namespace: str, *, seconds: int, name: str | None = None
    ) -> Iterator[Object]:
        """Every object, or the one of that name, then each change of one; for `seconds` at most."""
        query = [("watch", "true"), ("timeoutSeconds", str(seconds))]
        query += [("fieldSelector", f"metadata.name={name}")] if name else []
        response = self._request(
            "GET", resource.path(namespace), query=query, seconds=(_SECONDS[0], seconds + 15.0),
            read=False,
        )  # fmt: skip
        for event in _lines(response.response, f"watch of {resource.plural} in {namespace}"):
            if event.get("type") == "ERROR":
                message = event.get("object", {}).get("message", "")
                raise CannotAnswer(f"watch of {resource.plural} in {namespace}: {message}")
            yield event["object"]

    def _request_json(
        self, method: str, path: str, *, query: list[tuple[str, str]] | None = None,
        body: Object | None = None, missing: bool = False,
    ) -> Object | None:  # fmt: skip
        response = self._request(method, path, query=query, body=body, missing=missing)
        if response is None:
            return None
        try:
            document: Object = json.loads(response.data)
        except ValueError as error:  # a proxy in front of the API server answered
            raise CannotAnswer(f"no JSON in the answer to {method} {path}", hint=_WHERE) from error
        return document

    def _request(
        self, method: str, path: str, *, query: list[tuple[str, str]] | None = None,
        body: Object | None = None, missing: bool = False, read: bool = True,
        seconds: tuple[float, float] = _SECONDS,
    ) -> Any:  # fmt: skip
        """The response; None for a missing object if `missing` allows that."""
        import kubernetes
        import urllib3

        client, library = self._client, kubernetes  # which has no types
        kind = _MERGE_PATCH if method == "PATCH" else _JSON
        own = (library.client.ApiException, library.config.ConfigException)
        try:
            request = client.param_serialize(  # reads the token again
                method, path, query_params=query or [], body=body, auth_settings=["BearerToken"],
                header_params={"Accept": _JSON, "Content-Type": kind},
            )  # fmt: skip
            response = client.call_api(*request, _request_timeout=seconds)
            if read or response.status >= HTTPStatus.BAD_REQUEST:
                response.read()
        except own as error:
            raise CannotAnswer(f"the cluster cannot be asked: {error}", hint=_WHERE) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise LostAnswer(f"the cluster does not answer: {error}", hint=_WHERE) from error
        if response.status == HTTPStatus.NOT_FOUND and missing:
            return None
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise _refusal(method, path, response)
        return response


def _refusal(method: str, path: str, response: Any) -> Exception:
    """The error for a refusal of the API server."""
    try:
        why = json.loads(response.data).get("message", "")
    except (ValueError, AttributeError):
        why = bytes(response.data or b"")[:300].decode("utf-8", "replace")
    message = f"the cluster refused {method} {path}: {response.status} {why}"
    if response.status == HTTPStatus.CONFLICT:
        return Conflict(message)
    if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return CannotAnswer(
            message, hint="environments/platform/README.md lists the rights that each part needs"
        )
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return LostAnswer(message)
    return CannotAnswer(message)


def _lines(response: Any, what: str) -> Iterator[Object]:
    """The JSON documents of a stream, one per line, until it ends."""
    import urllib3

    rest = b""
    try:
        for part in response.stream(None, decode_content=False):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise CannotAnswer(f"{what} broke: {error}") from error
    finally:
        response.release_conn()
