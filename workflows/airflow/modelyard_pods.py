"""A step as the pod that the YAML describes, by Airflow's provider for Kubernetes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException
from modelyard_fields import NotTranslatedError
from modelyard_steps import ROOT, TAG, Step, StepRules, fill_tags

NAMESPACE = os.environ.get("MODELYARD_NAMESPACE", "modelyard")


def pod_of(spec: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """The pod of a step, still with tags: what Argo Workflows would make of the same YAML."""
    template = step.template
    container = {"name": "main", **template["container"]}
    if len(step.outputs) > 1:
        raise NotTranslatedError(f"{step.name}: a pod hands over one output, not more")
    for source in step.outputs.values():
        # Kubernetes reads this file when the container ends; a sidecar would change the pod.
        container["terminationMessagePath"] = source["path"]
    names = ("serviceAccountName", "securityContext")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": NAMESPACE, **template.get("metadata", {})},
        "spec": {
            **{name: spec[name] for name in names if name in spec},
            **{
                k: template[k] for k in ("initContainers", "activeDeadlineSeconds") if k in template
            },
            "volumes": [*spec.get("volumes", ()), *template.get("volumes", ())],
            "containers": [container],
            "restartPolicy": "Never",
        },
    }


class PodStep(StepRules, KubernetesPodOperator):
    """A step as the pod that the YAML describes."""

    template_fields = ()  # the tags are Argo's
    goes_on = True

    pod_template_dict: Any
    rendered: frozenset[str] = frozenset()
    """The values that the workflow gives its parameters."""

    def execute(self, context: Any) -> None:
        """Run the pod, or go on with the one that a lost try left running."""
        scope, params = self.scope(context), context["params"]
        allowed = self.rendered | pinned_images(params.get("model"), params.get("version"))
        for image in {fill_tags(each, scope) for each in images_of(self.pod_template_dict)}:
            if image not in allowed:
                # Git may know it a moment later, where a schedule fetches the checkout.
                raise AirflowException(f"no release and no version of the model pins {image}")
        pod = fill_tags(self.pod_template_dict, scope)
        patch = json.loads(fill_tags(self.step.template.get("podSpecPatch", "{}"), scope))
        if what := refused_in(patch):
            self.give_up(context, f"{what} is not what a model may ask of its pods")
        self.pod_template_dict = {**pod, "spec": merge(pod["spec"], patch)}
        super().execute(context)

    def cleanup(
        self, pod: Any, remote_pod: Any, xcom_result: Any = None, context: Any = None
    ) -> None:
        """End the step as its container did."""
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
            why = ""
        except AirflowException as error:
            why = str(error)
        if self._killed or not remote_pod:
            return
        found = [
            each.state.terminated
            for each in remote_pod.status.container_statuses or ()
            if each.name == self.base_container_name and each.state and each.state.terminated
        ]
        code = found[0].exit_code if found else None
        message = (found[0].message or "").rstrip("\n") if found else ""
        self.finish(context, code, dict.fromkeys(self.step.outputs, message) if message else {},
                    remote_pod.status.message or why)  # fmt: skip


def merge(whole: Any, part: Any) -> Any:
    """The part merged into the whole as Kubernetes does it: containers by their names."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return {**whole, **{key: merge(whole.get(key), each) for key, each in part.items()}}
    if isinstance(whole, list) and all("name" in each for each in part):
        named = {each["name"]: each for each in part}
        return [merge(each, named.get(each["name"], {})) for each in whole]
    return part


def images_of(pod: Mapping[str, Any]) -> Iterator[str]:
    """The images of a pod that parameters choose, with their tags."""
    for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
        if TAG.search(container["image"]):
            yield container["image"]


def pinned_images(model: Any, version: Any) -> frozenset[str]:
    """The images that the checkout pins for a version: its own, and those that serve its model.

    Whoever starts a run chooses its parameters, and must not choose what runs with the steps'
    rights.
    """
    files = [
        file
        for pattern, end in (
            ("models/*/versions/*.yaml", (model, "versions", f"{version}.yaml")),
            ("environments/*/releases/*.yaml", ("releases", f"{model}.yaml")),
        )
        for file in ROOT.glob(pattern)
        if file.parts[-len(end) :] == end
    ]
    specs = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    found = [each.get("server_image") or each.get("runtime", {}).get("image") for each in specs]
    return frozenset(filter(None, found))


def refused_in(patch: Mapping[str, Any]) -> str | None:
    """The first part of a patch that is neither a place for the pod nor the resources of a step."""
    kinds = ("containers", "initContainers")
    if other := patch.keys() - {"nodeSelector", "tolerations", *kinds}:
        return min(other)
    for kind in kinds:
        others = {key for each in patch.get(kind, ()) for key in each} - {"name", "resources"}
        if others:
            return f"{kind}: {min(others)}"
    return None
