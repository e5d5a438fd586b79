from __future__ import annotations

import re
import shutil
import subprocess
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.reader import read_valid_catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.repository import Repository
from modelyard.operations.watch.health import WatchHealth
from modelyard.render.analysis import JUDGE
from modelyard.render.pod import SERVICE_ACCOUNT

ROOT = Path(__file__).parents[2]
ARGO_CD = ROOT / "environments/argocd.yaml"
PLATFORM = ROOT / "environments/platform/manifests"
REPOSITORY = "https://example.com/team/models.git"
WRITE = {"create", "update", "patch", "delete", "deletecollection", "*"}

Document = dict[str, Any]


def documents(*paths: Path) -> list[Document]:
    texts = (path.read_text() for path in paths)
    return [each for text in texts for each in yaml.load_all(text, yaml.CSafeLoader) if each]


@cache
def read_platform() -> list[Document]:
    return documents(*sorted(PLATFORM.rglob("*.yaml")))


def platform() -> list[Document]:
    return deepcopy(read_platform())


def of_kind(kind: str) -> list[Document]:
    return [each for each in platform() if each["kind"] == kind]


def namespace_of(document: Document) -> str:
    return document["metadata"].get("namespace", "modelyard")


def environments() -> dict[str, Environment]:
    return read_valid_catalog(WorkingTree(ROOT)).environments


def namespaces() -> set[str]:
    return {each.namespace for each in environments().values()}


def projects() -> dict[str, Document]:
    return {
        each["metadata"]["name"]: each["spec"]
        for each in documents(ARGO_CD)
        if each["kind"] == "AppProject"
    }


# Argo CD.


def test_argo_cd_has_a_project_for_each_environment_and_one_for_the_platform():
    found = {
        name: [(each["name"], each["namespace"]) for each in spec["destinations"]]
        for name, spec in projects().items()
    }
    platforms = sorted(found.pop("modelyard-platform"))
    assert found == {
        f"modelyard-{name}": [(each.cluster, each.namespace)]
        for name, each in environments().items()
    }
    everywhere = {"modelyard", "argocd", "kube-system", *namespaces()}
    assert platforms == sorted(("in-cluster", name) for name in everywhere)


@pytest.mark.long
def test_argo_cd_never_holds_a_sync_open_and_never_deletes_by_mistake():
    texts = [path.read_text() for path in (ARGO_CD, *PLATFORM.rglob("*.yaml"))]
    assert not any("sync-wave:" in text or "/hook:" in text for text in texts)
    made = next(d["spec"] for d in documents(ARGO_CD) if d["kind"] == "ApplicationSet")
    alone = next(d["spec"] for d in documents(ARGO_CD) if d["kind"] == "Application")
    assert made["syncPolicy"] == {"preserveResourcesOnDeletion": True}
    for spec in (made["template"]["spec"], alone):
        retry = spec["syncPolicy"]["retry"]
        assert (retry["limit"], retry["refresh"], retry["backoff"]["maxDuration"]) == (
            -1,
            True,
            "10s",
        )
        assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    for namespace in of_kind("Namespace"):
        options = namespace["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        assert options == "Prune=false,Delete=false"


def test_argo_cd_leaves_annotations_alone_that_git_does_not_name():
    # Replace, and server-side apply with the fields of another manager, would take the watcher's
    # pull request and commit off a Rollout again.
    text = ARGO_CD.read_text()
    assert [
        word for word in ("Replace=true", "ServerSideApply", "Force=true") if word in text
    ] == []


@pytest.mark.long
def test_projects_allow_every_kind_that_is_rendered_or_written():
    golden = ROOT / "tests/golden"
    trees = ("canary_beside_production", "gateway_route")

    def kinds(found: list[Document]) -> set[tuple[str, str]]:
        groups = [each["apiVersion"].rpartition("/")[0] for each in found]
        return set(zip(groups, (each["kind"] for each in found), strict=True))

    found = [path for tree in trees for path in (golden / tree).glob("*/*/manifests/*/*.yaml")]
    rendered = kinds(documents(*found))
    for name, spec in projects().items():
        allowed = {(each["group"], each["kind"]) for each in spec["namespaceResourceWhitelist"]}
        allowed |= {(each["group"], each["kind"]) for each in spec["clusterResourceWhitelist"]}
        wanted = kinds(platform()) if name == "modelyard-platform" else rendered
        assert allowed == wanted | {("", "Namespace")}


def test_controllers_are_pinned_and_are_those_of_the_end_to_end_tests():
    written = documents(PLATFORM.with_name("controllers.yaml"))
    (project,) = [each["spec"] for each in written if each["kind"] == "AppProject"]
    found = {each["metadata"]["name"]: each["spec"] for each in written if "source" in each["spec"]}
    assert project["sourceRepos"] == [each["source"]["repoURL"] for each in found.values()]
    allowed = {each["namespace"] for each in project["destinations"]}
    tested = (ROOT / "tests/e2e/cluster/programs.py").read_text()
    versions = {
        name: re.search(rf'{name}(?:/v\d+|}})?@(v[\d.]+)"', tested)[1]
        for name in ("argo-cd", "argo-rollouts")
    } | {"argo-workflows": re.search(r'_WORKFLOWS}@(v[\d.]+)"', tested)[1]}
    for name, spec in found.items():
        assert spec["destination"]["namespace"] in allowed
        pin = spec["source"]["targetRevision"]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+|[0-9a-f]{40}", pin), name
        if name in versions:
            assert pin == versions[name] or len(pin) == 40
            images = spec["source"].get("kustomize", {}).get("images", [])
            assert {each.rpartition(":")[2] for each in images} <= {versions[name]}
    assert found.keys() >= versions.keys()


# What the platform runs, and with which rights.


def workloads() -> list[tuple[str, Document]]:
    return [
        (each["metadata"]["name"], each["spec"]["template"]["spec"])
        for each in of_kind("Deployment")
    ]


def test_what_the_platform_runs():
    assert sorted(name for name, _ in workloads()) == [
        "mlflow",
        "modelyard-judge",
        "modelyard-watch",
    ]


@pytest.mark.parametrize(("name", "pod"), workloads(), ids=[name for name, _ in workloads()])
def test_the_platforms_pods_may_do_nothing_but_their_work(name, pod):
    assert pod["securityContext"] == {
        "fsGroup": 10001,
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["automountServiceAccountToken"] is (name != "mlflow")
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert container["resources"]["limits"].keys() == {"memory"}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["image"] == Repository().server_image
        mounted = {each["name"] for each in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


@pytest.mark.long
def test_what_runs_twice_is_drained_one_at_a_time():
    twice = {d["metadata"]["name"] for d in of_kind("Deployment") if d["spec"]["replicas"] > 1}
    budgets = {d["metadata"]["name"]: d["spec"] for d in of_kind("PodDisruptionBudget")}
    assert budgets.keys() == twice
    assert {spec["maxUnavailable"] for spec in budgets.values()} == {1}


def rules(account: str) -> dict[str, list[tuple[str, str]]]:
    """Verb and resource that a service account is given, by namespace."""
    found: dict[str, list[tuple[str, str]]] = {}
    roles = {(namespace_of(d), d["metadata"]["name"]): d["rules"] for d in of_kind("Role")}
    for binding in of_kind("RoleBinding"):
        if any(subject["name"] == account for subject in binding["subjects"]):
            where = namespace_of(binding)
            found[where] = [
                (verb, resource)
                for rule in roles[where, binding["roleRef"]["name"]]
                for verb in rule["verbs"]
                for resource in rule["resources"]
            ]
    return found


@pytest.mark.long
def test_nothing_of_the_platform_has_rights_in_the_whole_cluster_or_reads_secrets():
    assert of_kind("ClusterRole") == of_kind("ClusterRoleBinding") == []
    for role in of_kind("Role"):
        for rule in role["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            assert "secrets" not in rule["resources"]
    for binding in of_kind("RoleBinding"):
        # The API server refuses a service account without its namespace.
        assert {s["namespace"] for s in binding["subjects"]} == {"modelyard"}


@pytest.mark.long
def test_the_watcher_may_write_releases_status_events_and_its_own_lease_and_no_more():
    writes = {
        where: sorted(each for each in given if each[0] in WRITE)
        for where, given in rules("modelyard-watch").items()
    }
    assert writes == {
        "argocd": [("patch", "applications"), ("patch", "applicationsets")],
        "kube-system": [],
        "modelyard": [("create", "leases"), ("create", "workflows"), ("update", "leases")],
        **{
            name: [("create", "events"), ("patch", "rollouts"), ("patch", "rollouts/status")]
            for name in namespaces()
        },
    }


@pytest.mark.long
def test_the_watcher_reads_which_cluster_it_is_in_and_nothing_else_of_the_system():
    assert rules("modelyard-watch")["kube-system"] == [("get", "namespaces")]
    (role,) = [each for each in of_kind("Role") if namespace_of(each) == "kube-system"]
    assert [rule["resourceNames"] for rule in role["rules"]] == [["kube-system"]]


@pytest.mark.long
def test_the_judge_reads_the_environments_and_writes_nothing():
    given = rules("modelyard-judge")
    assert given.keys() == namespaces()
    assert {verb for each in given.values() for verb, _ in each} == {"get", "list"}


def test_every_environment_namespace_has_what_its_pods_and_the_watcher_need():
    folder = PLATFORM / "namespaces"
    files = {path.stem: documents(path) for path in folder.glob("*.yaml")}
    assert files.keys() == {"modelyard", "argocd", "kube-system", *namespaces()}
    for name in namespaces():
        kinds = sorted((d["kind"], d["metadata"]["name"]) for d in files[name])
        assert kinds == [
            ("ConfigMap", "modelyard"),
            ("Namespace", name),
            ("Role", "modelyard-judge"),
            ("Role", "modelyard-watch"),
            ("RoleBinding", "modelyard-judge"),
            ("RoleBinding", "modelyard-watch"),
            ("ServiceAccount", SERVICE_ACCOUNT),
        ]
        assert {namespace_of(d) for d in files[name] if d["kind"] != "Namespace"} == {name}
        assert rules(SERVICE_ACCOUNT) == {}


def test_analysis_runs_find_the_judge_at_its_service():
    service = next(d for d in of_kind("Service") if d["metadata"]["name"] == "modelyard-judge")
    host = f"{service['metadata']['name']}.{namespace_of(service)}.svc.cluster.local"
    assert f"http://{host}/v1/verdicts" == JUDGE
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]


# What a person fills in.


def places(placeholder: str) -> list[str]:
    return [
        path.relative_to(ROOT / "environments").as_posix()
        for path in sorted(ROOT.glob("environments/**/*.yaml"))
        if placeholder in path.read_text() and "workflows" not in path.parts
    ]


def test_what_a_person_fills_in_is_where_the_readme_says():
    assert places(REPOSITORY) == ["argocd.yaml", "platform/manifests/settings.yaml"]
    assert places("s3://models") == [
        *sorted(f"platform/manifests/namespaces/{name}.yaml" for name in namespaces()),
        "platform/manifests/settings.yaml",
    ]
    assert places(Repository().server_image) == [
        f"platform/manifests/{name}.yaml" for name in ("judge", "mlflow", "watch")
    ]
    assert places("example.com") == places(REPOSITORY)


def test_the_readme_names_every_secret_the_manifests_read():
    text = (ROOT / "environments/platform/README.md").read_text()
    read = set(
        re.findall(
            r"name: (modelyard-\w+)\n +(?:key|optional)",
            "".join(path.read_text() for path in PLATFORM.rglob("*.yaml")),
        )
    )
    assert read == {"modelyard-steps", "modelyard-watch", "modelyard-judge", "modelyard-mlflow"}
    assert "for who in steps watch judge" in text
    assert {"modelyard-mlflow", "modelyard-artifacts"} <= set(re.findall(r"modelyard-\w+", text))


# Alerts.


@pytest.fixture
def rules_folder(tmp_path):
    (rule,) = of_kind("PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(Path(__file__).with_name("alerts_test.yaml"), tmp_path)
    return tmp_path


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "rules.yaml"), ("test", "rules", "alerts_test.yaml")]
)
def test_promtool_agrees_with_the_alerts(rules_folder, arguments):
    ran = subprocess.run(
        ["promtool", *arguments], cwd=rules_folder, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr


def test_every_alert_is_tried():
    tried = yaml.safe_load(Path(__file__).with_name("alerts_test.yaml").read_text())
    names = {t["alertname"] for each in tried["tests"] for t in each["alert_rule_test"]}
    (rule,) = of_kind("PrometheusRule")
    written = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    assert names == {each["alert"] for each in written}
    for each in written:
        assert each["labels"]["severity"] in {"page", "ticket"}
        assert each["annotations"].keys() == {"summary", "description"}


def test_alerts_read_what_the_watcher_exports():
    exported = {
        f"{each.name}_total" if each.type == "counter" else each.name
        for each in WatchHealth(30).registry.collect()
    }
    (rule,) = of_kind("PrometheusRule")
    text = " ".join(each["expr"] for g in rule["spec"]["groups"] for each in g["rules"])
    read = set(re.findall(r"modelyard_(?:watch|rollbacks|incidents|holds)\w*", text))
    assert read <= exported


@pytest.mark.long
def test_monitors_and_policies_name_ports_and_pods_that_exist():
    services = {
        d["metadata"]["name"]: {port["name"] for port in d["spec"]["ports"]}
        for d in of_kind("Service")
    }
    for monitor in of_kind("ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        matching = [
            d for d in of_kind("Service") if labels.items() <= d["metadata"]["labels"].items()
        ]
        assert [d["metadata"]["name"] for d in matching] == [monitor["metadata"]["name"]]
        ports = {each["port"] for each in monitor["spec"]["endpoints"]}
        assert ports <= services[monitor["metadata"]["name"]]
    pods = {
        d["metadata"]["name"]: (
            d["spec"]["template"]["metadata"]["labels"],
            {p["name"] for p in d["spec"]["template"]["spec"]["containers"][0]["ports"]},
        )
        for d in of_kind("Deployment")
    }
    policies = {d["metadata"]["name"]: d["spec"] for d in of_kind("NetworkPolicy")}
    assert policies.pop("nobody") == {"podSelector": {}, "policyTypes": ["Ingress"]}
    training = policies.pop("modelyard-train")
    assert policies.keys() == pods.keys()
    for name, policy in policies.items():
        labels, ports = pods[name]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
        assert {p["port"] for rule in policy["ingress"] for p in rule["ports"]} == ports
    templates = [each for d in of_kind("WorkflowTemplate") for each in d["spec"]["templates"]]
    labels = [each["metadata"]["labels"] for each in templates if "metadata" in each]
    assert labels == [training["podSelector"]["matchLabels"]]
