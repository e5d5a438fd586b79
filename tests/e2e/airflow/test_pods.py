"""Steps as pods: Airflow's own operator against a small Kubernetes, whose pods end at once."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from e2e.airflow.airflow import ENVIRONMENT, ROOT
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES

SPECS = {
    path.stem: yaml.safe_load(path.read_text())["spec"]
    for path in (ROOT / WORKFLOW_TEMPLATES).glob("*.yaml")
    if yaml.safe_load(path.read_text())["kind"] == "WorkflowTemplate"
}
TRAIN, DRIFT = "train-and-evaluate", "detect-drift"
DIGEST = f"sha256:{'0' * 64}"
OWN, CHAMPION = f"example.org/own@{DIGEST}", f"example.org/champion@{DIGEST}"
LEFT = {"inputs": "d" * 64}
"""What `fetch` leaves for the steps after it."""
PARAMS = {"model": "wine", "version": "v7", "attempt": "1", "commit": "c" * 40}


class SmallKubernetes(ThreadingHTTPServer):
    """Pods of one namespace, which end as `ends` says by the run's name: exit code, last words."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pods)
        self.ends: dict[str, tuple[int, str]] = {}
        self.pods: dict[str, Any] = {}
        self.posted: list[Any] = []

    def create(self, pod: Any) -> Any:
        self.posted.append(copy.deepcopy(pod))
        code, words = self.ends.get(pod["metadata"]["labels"]["run_id"], (0, ""))
        ended = {"exitCode": code, "message": words}
        status = {"name": "main", "state": {"terminated": ended}, "ready": False,
                  "restartCount": 0, "image": "i", "imageID": "i"}  # fmt: skip
        pod["status"] = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [status]}
        pod["metadata"]["uid"] = str(len(self.posted))
        self.pods[pod["metadata"]["name"]] = pod
        return pod

    def select(self, selector: str) -> list[Any]:
        def matches(labels: dict[str, str]) -> bool:
            terms = [term for term in selector.split(",") if not term.startswith("!")]
            found = [
                term.partition("!=") if "!=" in term else term.partition("=") for term in terms
            ]
            return all((labels.get(key) == value) is (sign == "=") for key, sign, value in found)

        return [pod for pod in self.pods.values() if matches(pod["metadata"]["labels"])]


class _Pods(BaseHTTPRequestHandler):
    server: SmallKubernetes

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        address = urlsplit(self.path)
        *_, name, _ = f"{address.path}/".rsplit("/", 2)
        pods = self.server.pods
        found: Any = {"kind": "PodList", "items": []}
        if self.command == "POST":
            found = self.server.create(body)
        elif address.path.endswith("/log"):
            found = "said\n"
        elif name == "pods":
            selector = parse_qs(address.query).get("labelSelector", [""])[0]
            found["items"] = self.server.select(selector)
        elif name in pods:
            if self.command == "PATCH":
                pods[name]["metadata"]["labels"] |= body["metadata"]["labels"]
            found = pods.pop(name) if self.command == "DELETE" else pods[name]
        data = (found if isinstance(found, str) else json.dumps(found)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None: ...


class Players:
    """Airflow's environment, and the small Kubernetes that it creates pods in."""

    def __init__(self, kubernetes: SmallKubernetes, folder: Path) -> None:
        self.kubernetes, self.checkout = kubernetes, folder / "checkout"
        shutil.copytree(ROOT / WORKFLOW_TEMPLATES, self.checkout / WORKFLOW_TEMPLATES)
        self._write("models/wine/versions/v7.yaml", {"runtime": {"lock": "l", "image": OWN}})
        self._write("environments/production/releases/wine.yaml", {"server_image": CHAMPION})
        config = {
            "clusters": [
                {
                    "name": "c",
                    "cluster": {"server": f"http://127.0.0.1:{kubernetes.server_port}"},
                }
            ],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        self._write("../config", config)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": "kubernetes://",
            "KUBECONFIG": str(folder / "config"),
            "MODELYARD_ROOT": str(self.checkout),
            "MODELYARD_STEPS": "pods",
            "PYTHONWARNINGS": "ignore",
        }

    def _write(self, name: str, document: Any) -> None:
        file = self.checkout / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))

    def play(self, *cases: dict[str, Any]) -> list[dict[str, Any]]:
        script = Path(__file__).with_name("play_pods.py")
        done = subprocess.run(
            [ENVIRONMENT / "bin/python", "-P", script, ROOT / "workflows/airflow"],
            env=self.environment, input="\n".join(map(json.dumps, cases)), text=True,
            capture_output=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    with SmallKubernetes() as kubernetes:
        threading.Thread(target=kubernetes.serve_forever, daemon=True).start()
        yield Players(kubernetes, tmp_path_factory.mktemp("pods"))
        kubernetes.shutdown()


def case(run: str, step: str, dag: str = TRAIN, **params: str) -> dict[str, Any]:
    given = {"model": "wine"} if dag == DRIFT else PARAMS
    left = {f"outputs.{name}": value for name, value in LEFT.items()}
    return {"dag": dag, "step": step, "run": run, "params": {**given, **params}, "left": left}


def filled(value: Any, scope: dict[str, str]) -> Any:
    text = json.dumps(value)
    for tag, each in scope.items():
        text = text.replace(f"{{{{{tag}}}}}", each)
    assert "{{" not in text
    return json.loads(text)


def argos_pod(spec: Any, template: Any, scope: dict[str, str]) -> Any:
    """What Argo Workflows makes of a step: the pod's own fields and those of the workflow."""
    pod = {name: spec[name] for name in ("serviceAccountName", "securityContext")}
    pod |= {"volumes": [*spec["volumes"], *template.get("volumes", ())]}
    pod |= {k: template[k] for k in ("initContainers", "activeDeadlineSeconds") if k in template}
    pod |= {"containers": [{"name": "main", **template["container"]}], "restartPolicy": "Never"}
    return filled(pod, scope)


def without_nothing(value: Any) -> Any:
    """The value without what is empty, which a Kubernetes client leaves out or not as it likes."""
    if isinstance(value, dict):
        return {k: w for k, v in value.items() if (w := without_nothing(v)) not in ([], {}, None)}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("dag", SPECS)
def test_the_pod_of_each_step_is_that_of_the_yaml(players: Players, dag: str):
    templates = [each for each in SPECS[dag]["templates"] if "container" in each]
    cases = [case(f"equal-{each['name']}", each["name"], dag) for each in templates]
    defaults = {each["name"]: each.get("value") for each in SPECS[dag]["arguments"]["parameters"]}
    # A condition may need an output of the step before, which is not played here.
    skipped = {t["name"] for t in SPECS[dag]["templates"][-1]["dag"]["tasks"] if "when" in t}
    played = [each for each in cases if each["step"] not in skipped]
    players.kubernetes.posted.clear()

    for each, found in zip(played, players.play(*played), strict=True):
        assert (found["ended"], found["tries"]) == ("success", 1), (each, found)

    posted = {pod["metadata"]["labels"]["task_id"]: pod for pod in players.kubernetes.posted}
    assert posted.keys() == {each["step"] for each in played}
    for each in played:
        params = {**defaults, **each["params"]}
        scope = {"workflow.name": each["run"]}
        scope |= {f"workflow.parameters.{name}": str(value) for name, value in params.items()}
        scope |= {f"inputs.parameters.{name}": value for name, value in LEFT.items()}
        (template,) = [one for one in templates if one["name"] == each["step"]]
        pod = posted[each["step"]]
        (main,) = pod["spec"]["containers"]
        # What the operator says of its own is what Kubernetes takes where nothing is said.
        assert pod["spec"].pop("hostNetwork") is False
        assert main.pop("terminationMessagePolicy") == "File"
        for output in template.get("outputs", {}).get("parameters", ()):
            assert main.pop("terminationMessagePath") == output["valueFrom"]["path"]
        assert pod["metadata"]["namespace"] == "modelyard"
        asked = template.get("metadata", {}).get("annotations", {})  # such as which have no keys
        assert pod["metadata"]["annotations"].items() >= asked.items()
        expected = argos_pod(SPECS[dag], template, scope)
        assert without_nothing(pod["spec"]) == without_nothing(expected)


def test_a_step_as_a_pod_ends_as_its_container_did(players: Players):
    ends = {"yes": (0, ""), "no": (3, ""), "tries": (1, ""), "killed": (137, ""),
            "crash": (5, ""), "drift": (3, "confirmed\n")}  # fmt: skip
    players.kubernetes.ends = ends
    cases = [case(name, "fetch") for name in ends if name != "drift"]
    found = players.play(*cases, case("drift", "compare", DRIFT))
    told = {name: (each["ended"], each["tries"]) for name, each in zip(ends, found, strict=True)}
    assert told == {
        "yes": ("success", 1),
        "no": ("failed: exit code 3", 1),
        "tries": ("failed: exit code 1", 3),
        "killed": (told["killed"][0], 1),
        "crash": ("failed: exit code 5", 1),
        "drift": ("failed: exit code 3", 1),
    }
    codes = {name: each["xcoms"].get("exit_code") for name, each in zip(ends, found, strict=True)}
    assert codes == {"yes": None, "no": 3, "tries": 1, "killed": None, "crash": 5, "drift": 3}
    assert found[-1]["xcoms"]["outputs.decision"] == "confirmed"
    left = [pod["metadata"]["labels"]["run_id"] for pod in players.kubernetes.pods.values()]
    assert "yes" not in left  # a failed one is kept, for its log
    assert left.count("tries") == 3


def test_an_image_that_nothing_pins_is_not_run_whoever_starts_the_run(players: Players):
    resources = {"limits": {"cpu": "2"}}
    containers = [{"name": "main", "resources": resources}]
    placed = json.dumps({"nodeSelector": {"gpu": "yes"}, "containers": containers})
    stolen = json.dumps({"containers": [{"name": "main", "image": "example.org/evil"}]})
    mounted = json.dumps({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]})
    players.kubernetes.posted.clear()
    own, apart, asked, evil, other, patched, host = players.play(
        case("own", "train", image=OWN),
        case("apart", "champion", **{"champion-image": CHAMPION, "champion-apart": "yes"}),
        case("asked", "train", **{"trainer-pod": placed}),
        case("evil", "train", image="example.org/evil"),
        case("other", "train", image=OWN, version="v8"),
        case("patched", "train", **{"trainer-pod": stolen}),
        case("host", "train", **{"trainer-pod": mounted}),
    )
    assert [each["ended"] for each in (own, apart, asked)] == ["success"] * 3
    images = [pod["spec"]["containers"][0]["image"] for pod in players.kubernetes.posted]
    assert images[:2] == [OWN, CHAMPION]
    assert players.kubernetes.posted[2]["spec"]["nodeSelector"] == {"gpu": "yes"}
    assert len(images) == 3
    nothing = "no release and no version of the model pins"
    assert evil["ended"] == f"no more tries: {nothing} example.org/evil"
    assert other["ended"] == f"no more tries: {nothing} {OWN}"
    may_not = "is not what a model may ask of its pods"
    assert patched["ended"] == f"failed: containers: image {may_not}"
    assert host["ended"] == f"failed: volumes {may_not}"
