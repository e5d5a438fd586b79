from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.adapters.specs.documents import dump_documents, load_yaml
from modelyard.cli import cli
from modelyard.domain.specs.environment import (
    Approvals,
    Environment,
    Rollout,
    Router,
    RouterKind,
    Step,
)
from modelyard.domain.specs.model import (
    ArtifactPolicy,
    CanaryPolicy,
    GatePolicy,
    Model,
    Owner,
    Server,
)
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.render.tree import render_manifests, rendered_tree, tree_digest
from unit.render.pairs import CANARY, MODEL, PRODUCTION, RELEASE

ROUTER = Router(kind=RouterKind.GATEWAY_API, gateway="public")


def rendered(
    release: Release = RELEASE, *, model: Model = MODEL, environment: Environment = PRODUCTION
) -> dict[str, list[Any]]:
    return {
        name: list(yaml.safe_load_all(text))
        for name, text in rendered_tree(release, model=model, environment=environment).items()
    }


def rollout(**changes: Any) -> dict[str, Any]:
    return rendered(**changes)["rollout.yaml"][0]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


names = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
versions = st.from_regex(r"[a-z]([a-z0-9.-]{0,38}[a-z0-9])?", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True).map("sha256:{}".format)
releases = st.builds(
    Release,
    model=names,
    environment=names,
    version=versions,
    artifact=digests,
    server_image=digests.map("registry.example.com/modelyard@{}".format),
    renderer=st.just(RENDERER),
    manifests=st.just("0" * 64),
    attempt=st.integers(1, 999),
)
environments = st.builds(
    Environment,
    name=names,
    description=st.text(),
    namespace=names,
    joins=st.none() | names,
    rollout=st.builds(
        Rollout,
        replicas=st.integers(1, 50),
        judged=st.booleans(),
        ready_within_seconds=st.integers(1, 3600),
        decide_within_seconds=st.integers(1, 10**7),
        steps=st.lists(
            st.builds(Step, share=st.floats(0.001, 1.0), pause_seconds=st.integers(0, 999)),
            max_size=4,
        ).map(tuple),
    ),
)


@pytest.mark.long
@settings(max_examples=25)
@given(release=releases, environment=environments)
def test_any_release_renders_to_names_and_labels_that_kubernetes_takes(release, environment):
    environment = replace(environment, name=release.environment)
    model = replace(MODEL, name=release.model)
    documents = [
        d for each in rendered(release, model=model, environment=environment).values() for d in each
    ]
    template = next(d for d in documents if d["kind"] == "Rollout")["spec"]["template"]
    for metadata in (*(document["metadata"] for document in documents), template["metadata"]):
        if "name" in metadata:
            assert re.fullmatch(
                r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", metadata["name"].removesuffix("-judge")
            )
        for value in metadata["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)
        for value in metadata.get("annotations", {}).values():
            assert isinstance(value, str)


@pytest.mark.long
@settings(max_examples=25)
@given(release=releases, environment=environments)
def test_every_reader_of_yaml_reads_what_was_meant(release, environment):
    environment = replace(environment, name=release.environment)
    meant = render_manifests(release, model=MODEL, environment=environment)
    for name, text in rendered_tree(release, model=MODEL, environment=environment).items():
        assert list(yaml.safe_load_all(text)) == list(meant[name])
        for part, document in zip(
            re.split(rb"(?m)^---\n", text)[-len(meant[name]) :], meant[name], strict=True
        ):
            loaded = load_yaml(part, name=name)
            assert (loaded.document, loaded.problems) == (document, ())


def test_the_bytes_are_those_of_every_other_file_of_the_tool():
    for name, documents in render_manifests(RELEASE, model=MODEL, environment=PRODUCTION).items():
        text = rendered_tree(RELEASE, model=MODEL, environment=PRODUCTION)[name]
        assert text == dump_documents(documents)


def test_text_that_looks_like_a_number_or_a_truth_value_is_quoted():
    release = replace(
        RELEASE, model="y", environment="n", artifact="sha256:" + "12345678901e" + "0" * 52
    )
    labels = rollout(release=release, environment=replace(PRODUCTION, name="n"))["spec"][
        "template"
    ]["metadata"]["labels"]
    text = rendered_tree(release, model=MODEL, environment=replace(PRODUCTION, name="n"))[
        "rollout.yaml"
    ]
    assert labels["modelyard.dev/artifact"] == "12345678901e"
    assert b"modelyard.dev/model: 'y'" in text
    assert b"modelyard.dev/environment: 'n'" in text
    exponent = replace(RELEASE, artifact="sha256:" + "1234567890e5" + "0" * 52)
    assert (
        b"modelyard.dev/artifact: '1234567890e5'"
        in rendered_tree(exponent, model=MODEL, environment=PRODUCTION)["rollout.yaml"]
    )


@pytest.mark.long
def test_another_interpreter_renders_the_same_bytes():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from modelyard.render.tree import rendered_tree, tree_digest;"
        "from unit.render.pairs import RELEASE, MODEL, PRODUCTION;"
        "print(tree_digest(rendered_tree(RELEASE, model=MODEL, environment=PRODUCTION)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, str(Path(__file__).parents[2])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert said == {tree_digest(rendered_tree(RELEASE, model=MODEL, environment=PRODUCTION))}


# What starts new pods.


@pytest.mark.parametrize(
    "change",
    [
        {"version": "v2"},
        {"artifact": "sha256:" + "b2" * 32},
        {"server_image": "registry.example.com/modelyard@sha256:" + "6f" * 32},
        {"attempt": 2},
        {"renderer": RENDERER + 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_pin_changes_the_pods(change):
    assert (
        rollout(release=replace(RELEASE, **change))["spec"]["template"]
        != rollout()["spec"]["template"]
    )


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "change",
    [
        {"release": replace(RELEASE, manifests="1" * 64)},
        {"environment": replace(PRODUCTION, description="Other words.")},
        {"environment": replace(PRODUCTION, approvals=Approvals(needed=3))},
        {"environment": replace(PRODUCTION, soak_seconds=7200)},
        {"environment": replace(PRODUCTION, rollout=Rollout(replicas=9))},
        {"environment": replace(PRODUCTION, rollout=Rollout(ready_within_seconds=9))},
        {"environment": replace(PRODUCTION, rollout=Rollout(decide_within_seconds=9))},
        {"environment": replace(PRODUCTION, rollout=Rollout(judged=True))},
        {"environment": replace(PRODUCTION, rollout=Rollout(steps=(Step(share=0.1),)))},
        {"environment": replace(PRODUCTION, rollout=Rollout(router=ROUTER))},
        {"model": replace(MODEL, description="Other words.")},
        {"model": replace(MODEL, owner=Owner(team="others", contact="x@example.org"))},
        {"model": replace(MODEL, gate=GatePolicy(metric="auc", margin=0.2))},
        {"model": replace(MODEL, canary=CanaryPolicy(alpha=0.2))},
        {"model": replace(MODEL, artifact=ArtifactPolicy(max_megabytes=7, max_p95_ms=7))},
    ],
)
def test_nothing_else_changes_the_pods(change):
    assert rollout(**change)["spec"]["template"] == rollout()["spec"]["template"]


def test_the_server_is_told_what_it_must_know_to_open_the_artifact():
    model = replace(
        MODEL, artifact=ArtifactPolicy(trusted_types=("a.B",), formats=("skops", "onnx"))
    )
    server = rollout(model=model)["spec"]["template"]["spec"]["containers"][0]
    assert server["args"][-3:] == ["--format=skops", "--format=onnx", "--trusted-type=a.B"]


def server_of(**changes: Any) -> dict[str, Any]:
    return rollout(**changes)["spec"]["template"]["spec"]["containers"][0]


def variables_of(server: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in server["env"] if each["name"] != "HOME"}


def test_a_queue_and_workers_of_its_own_are_told_to_the_server_and_the_defaults_are_not():
    asked = Server(queue=20, workers=3, stuck_after_seconds=600)
    server = server_of(model=replace(MODEL, server=asked))
    assert "--queue=20" in server["args"]
    assert variables_of(server) == {
        "MODELYARD_SERVE_WORKERS": "3",
        "MODELYARD_SERVE_STUCK_AFTER": "600",
    }
    assert server_of(model=replace(MODEL, server=Server())) == server_of()
    assert variables_of(server_of()) == {}


def test_a_model_that_asks_for_grpc_has_a_port_more_and_no_other_is_changed():
    model = replace(MODEL, server=Server(grpc=True))
    before, after = rendered(), rendered(model=model)

    assert rendered(model=replace(MODEL, server=Server())) == before
    assert {name for name in before if before[name] != after[name]} == {
        *("availability.yaml", "rollout.yaml", "services.yaml")
    }
    server = server_of(model=model)
    assert variables_of(server) == {"MODELYARD_SERVE_GRPC_PORT": "9000"}
    assert server["ports"][1:] == [{"name": "grpc", "containerPort": 9000}]
    (policy,) = (d for d in after["availability.yaml"] if d["kind"] == "NetworkPolicy")
    ports = policy["spec"]["ingress"][0]["ports"]
    assert [each["port"] for each in ports] == ["http", "grpc"]
    for service in after["services.yaml"]:
        assert [each["name"] for each in service["spec"]["ports"]] == ["http", "grpc"]
        assert service["spec"]["ports"][1] == {
            "name": "grpc", "port": 9000, "protocol": "TCP", "targetPort": "grpc",
        }  # fmt: skip


def test_copies_for_a_canary_need_no_port_of_grpc():
    asked = replace(MODEL, server=Server(grpc=True), canary=replace(MODEL.canary, shadow=0.25))
    services = {
        each["metadata"]["name"]: [port["name"] for port in each["spec"]["ports"]]
        for each in rendered(model=asked, environment=CANARY)["services.yaml"]
    }

    assert sorted(services.values()) == [["http"], ["http", "grpc"]]


def test_a_server_of_an_image_of_0_1_starts_whatever_model_yaml_says(monkeypatch):
    """It knows these options, and ends with "no such option" for any other."""
    known = {
        *("--model", "--version", "--release", "--artifact", "--folder", "--port", "--host"),
        *("--format", "--trusted-type", "--queue", "--lock", "--closing-file"),
    }
    model = replace(
        MODEL,
        server=Server(queue=20, workers=3, stuck_after_seconds=600, grpc=True),
        canary=replace(MODEL.canary, shadow=0.25),
    )
    routed = replace(PRODUCTION, rollout=replace(PRODUCTION.rollout, router=ROUTER))
    server = server_of(model=model, environment=routed)
    assert {word.partition("=")[0] for word in server["args"][1:]} <= known

    for name, value in variables_of(server).items():
        monkeypatch.setenv(name, value)
    context = cli.make_context("modelyard", list(server["args"]))
    name, serve, words = cli.resolve_command(context, list(server["args"]))
    found = serve.make_context(name, words, parent=context).params
    assert (found["queue"], found["workers"], found["stuck_after"]) == (20, 3, 600)
    assert (found["shadow_share"], found["grpc_port"]) == (0.25, 9000)
    assert found["shadow_to"] == tuple(
        f"http://pairs-production-{name}" for name in ("shadow", "next")
    )


def test_the_time_to_decide_changes_neither_pods_nor_steps():
    longer = replace(PRODUCTION.rollout, decide_within_seconds=10**6)
    before, after = rendered(), rendered(environment=replace(PRODUCTION, rollout=longer))
    assert {name for name in before if before[name] != after[name]} == {"analysis.yaml"}


def test_the_commands_of_the_pods_are_commands_of_modelyard():
    from modelyard.commands.serve import serve
    from modelyard.commands.step import fetch_model

    pod = rollout()["spec"]["template"]["spec"]
    server, fetch = pod["containers"][0], pod["initContainers"][0]
    assert (server["command"], server["args"][0]) == (["modelyard"], "serve")
    assert (fetch["command"], fetch["args"][0]) == (["modelyard"], "fetch-model")
    served = serve.make_context("serve", server["args"][1:]).params
    fetched = fetch_model.make_context(
        "fetch-model", [*fetch["args"][1:], "--store=s3://models"]
    ).params
    assert (served["artifact"], served["release"]) == (RELEASE.artifact, RELEASE.identity)
    assert (served["folder"], served["port"]) == (
        fetched["folder"],
        server["ports"][0]["containerPort"],
    )


def test_a_pod_fetches_by_the_signature_that_the_policy_asks_for():
    from modelyard.commands.step import fetch_model

    def arguments(model):
        return rollout(model=model)["spec"]["template"]["spec"]["initContainers"][0]["args"]

    keys = ("MFkw1", "MFkw2")
    asked = arguments(replace(MODEL, artifact=replace(MODEL.artifact, signed_by=keys)))
    read = fetch_model.make_context("fetch-model", [*asked[1:], "--store=s3://models"]).params

    assert (read["keys"], read["model"], read["version"]) == (keys, "pairs", "v1")
    assert not [each for each in arguments(MODEL) if "sign" in each or "model=" in each]


def test_pods_may_do_nothing_but_serve():
    pod = rollout()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "modelyard-server"
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert container["resources"].keys() == {"requests", "limits"}
    assert "envFrom" not in pod["containers"][0]


# How a release takes over.


def test_an_environment_steps_up_and_is_judged_at_every_step():
    spec = rollout()["spec"]
    judged = {
        "analysis": {
            "args": [
                {"name": "environment", "value": "production"},
                {"name": "model", "value": "pairs"},
                {"name": "release", "value": RELEASE.identity},
            ],
            "templates": [{"templateName": "pairs-judge"}],
        }
    }
    steps = [{"setWeight": 50}, {"pause": {"duration": "30s"}}, judged]
    assert spec["strategy"] == {"canary": {"maxSurge": 2, "maxUnavailable": 0, "steps": steps}}
    assert (spec["progressDeadlineAbort"], spec["progressDeadlineSeconds"]) == (True, 90)
    assert spec["rollbackWindow"] == {"revisions": spec["revisionHistoryLimit"]}


@pytest.mark.parametrize(
    ("given_steps", "judged", "joins", "expected"),
    [
        ((), False, None, []),
        ((), True, None, [20, "judge"]),
        ((Step(share=0.5),), False, None, [50]),
        ((Step(share=0.1), Step(share=0.5)), True, None, [10, "judge", 50, "judge"]),
        ((Step(share=0.2, pause_seconds=5),), True, "production", [20, "5s", "judge"]),
        ((Step(share=0.2),), False, "production", [20]),
        ((Step(share=0.001),), False, None, [1]),
    ],
)
def test_the_steps_are_those_of_the_environment(given_steps, judged, joins, expected):
    environment = replace(
        PRODUCTION, joins=joins, rollout=Rollout(replicas=4, steps=given_steps, judged=judged)
    )
    steps = rollout(environment=environment)["spec"]["strategy"]["canary"]["steps"]
    words = {"analysis": lambda _: "judge", "pause": lambda p: p["duration"], "setWeight": int}
    assert [words[key](value) for step in steps for key, value in step.items()] == expected


def test_the_judge_is_asked_until_it_knows_and_doubt_never_aborts():
    template = rendered()["analysis.yaml"][0]
    metric = template["spec"]["metrics"][0]
    assert metric == {
        "name": "judge",
        "interval": "2s",
        "count": 43_200,
        "inconclusiveLimit": 43_200,
        "consecutiveErrorLimit": 1_000_000,
        "failureLimit": 0,
        "consecutiveSuccessLimit": 1,
        "successCondition": 'result == "pass"',
        "failureCondition": 'result == "fail"',
        "provider": {
            "web": {
                "jsonPath": "{$.outcome}",
                "timeoutSeconds": 10,
                "url": "http://modelyard-judge.modelyard.svc.cluster.local/v1/verdicts"
                "/{{args.environment}}/{{args.model}}/{{args.release}}",
            }
        },
    }
    assert "analysis.yaml" not in rendered(environment=replace(PRODUCTION, rollout=Rollout()))


# Two environments in one namespace.


def test_a_canary_and_production_share_only_the_service_that_production_owns():
    canary = replace(RELEASE, environment="canary", version="v2")
    production, beside = rendered(), rendered(canary, environment=CANARY)

    def objects(files: dict[str, list[Any]]) -> dict[tuple[str, str], Any]:
        return {(d["kind"], d["metadata"]["name"]): d for each in files.values() for d in each}

    ours, theirs = objects(production), objects(beside)
    assert ours.keys() & theirs.keys() == set()
    pods = [
        files["rollout.yaml"][0]["spec"]["template"]["metadata"]["labels"]
        for files in (production, beside)
    ]
    shared = ours["Service", "pairs"]["spec"]["selector"]
    assert [selects(shared, labels) for labels in pods] == [True, True]
    for files, own, other in ((ours, *pods), (theirs, *reversed(pods))):
        for (kind, name), document in files.items():
            selector = {
                "Rollout": lambda d: d["spec"]["selector"]["matchLabels"],
                "Service": lambda d: d["spec"]["selector"],
                "NetworkPolicy": lambda d: d["spec"]["podSelector"]["matchLabels"],
                "PodDisruptionBudget": lambda d: d["spec"]["selector"]["matchLabels"],
            }.get(kind)
            if selector and (kind, name) != ("Service", "pairs"):
                assert (selects(selector(document), own), selects(selector(document), other)) == (
                    True,
                    False,
                )


def test_each_monitor_reads_the_pods_of_its_own_environment_once():
    canary = replace(RELEASE, environment="canary")
    both = [rendered(), rendered(canary, environment=CANARY)]
    services = [service for files in both for service in files["services.yaml"]]
    for files, name in zip(both, ("pairs-production", "pairs-canary"), strict=True):
        wanted = files["monitor.yaml"][0]["spec"]["selector"]["matchLabels"]
        found = [
            s["metadata"]["name"] for s in services if selects(wanted, s["metadata"]["labels"])
        ]
        assert found == [name]


# What a stranger sees.


def test_the_rollout_itself_says_what_it_runs():
    metadata = rollout()["metadata"]
    pod = rollout()["spec"]["template"]["metadata"]
    assert pod["labels"].items() <= metadata["labels"].items()
    assert metadata["annotations"] == {
        **pod["annotations"],
        "modelyard.dev/share": "2 / 4 beside the release before, "
        "then all, but for the pods of environments that join production",
    }


# Shadow answers.


def test_stable_copies_requests_to_a_service_that_only_a_joined_canary_has():
    shadowed = replace(MODEL, canary=replace(MODEL.canary, shadow=0.1))
    canary = replace(RELEASE, environment="canary")

    def shadow_variables(**changes: Any) -> list[str]:
        found = variables_of(server_of(**changes))
        return [each for name, value in found.items() if "SHADOW" in name for each in value.split()]

    routed = replace(PRODUCTION, rollout=replace(PRODUCTION.rollout, router=ROUTER))
    address = "http://pairs-production"
    assert shadow_variables(model=shadowed) == ["0.1", f"{address}-shadow"]
    # Only a router has a Service of the next release's pods alone.
    assert shadow_variables(model=shadowed, environment=routed)[1:] == [
        f"{address}-shadow",
        f"{address}-next",
    ]
    assert shadow_variables(release=canary, model=shadowed, environment=CANARY) == []
    assert shadow_variables() == []
    services = rendered(canary, model=shadowed, environment=CANARY)["services.yaml"]
    (copies,) = [each for each in services if each["metadata"]["name"].endswith("-shadow")]
    assert copies["metadata"]["name"] == "pairs-production-shadow"
    assert copies["spec"]["selector"]["modelyard.dev/environment"] == "canary"
    names = [each["metadata"]["name"] for each in rendered(model=shadowed)["services.yaml"]]
    assert "pairs-production-shadow" not in names


# A traffic router.


def test_a_router_splits_by_weight_between_the_shared_service_and_the_next_one():
    environment = replace(PRODUCTION, rollout=replace(PRODUCTION.rollout, router=ROUTER))
    files = rendered(environment=environment)
    canary = files["rollout.yaml"][0]["spec"]["strategy"]["canary"]
    assert canary["trafficRouting"] == {
        "plugins": {
            "argoproj-labs/gatewayAPI": {
                "httpRoute": "pairs",
                "namespace": PRODUCTION.namespace,
            }
        }
    }
    (route,) = files["route.yaml"]
    assert route["spec"]["parentRefs"] == [{"name": "public"}]
    services = {each["metadata"]["name"] for each in files["services.yaml"]}
    backends = {each["name"]: each["weight"] for each in route["spec"]["rules"][0]["backendRefs"]}
    assert backends == {canary["stableService"]: 100, canary["canaryService"]: 0}
    assert backends.keys() <= services
    assert "route.yaml" not in rendered()
