from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from modelyard.cli import main
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.platform.configure import Platform, read_platform

ROOT = Path(__file__).parents[2]
IMAGE = f"111122223333.dkr.ecr.eu-central-1.amazonaws.com/modelyard@sha256:{'5' * 64}"
OUTPUTS = {
    "bucket": "acme-models",
    "image": IMAGE,
    "repository": "https://github.com/acme/models.git",
    "tracking_uri": "http://mlflow.modelyard:5000",
    "metrics_uri": "http://prometheus-operated.monitoring:9090",
    "database": "mlflow.example.rds.amazonaws.com:5432/mlflow",
}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=ann", "-c", "user.email=a@b", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture
def clone(tmp_path):
    """A clone of a new team's repository: what this one has, without its models."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "environments", folder / "environments")
    shutil.copytree(
        ROOT / "workflows", folder / "workflows", ignore=shutil.ignore_patterns("__pycache__")
    )
    settings = (ROOT / "modelyard.yaml").read_text()
    (folder / "modelyard.yaml").write_text(f"# Ours.\n{settings}")
    (folder / "models").mkdir()
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(folder, "init", "-q", "-b", "main")
    # Whose workflows of drift name this repository's model with a feed.
    for path in (folder / "environments/platform/manifests/workflows").glob("detect-drift-*"):
        path.unlink()
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Start")
    git(folder, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(folder, "push", "-q", "origin", "main")
    return folder


def configure(clone: Path, capsys, *arguments: str, **changes: str) -> tuple[int, str]:
    outputs = clone.parent / "outputs.json"
    found = {**OUTPUTS, **changes, "database_secret": "arn:aws:secretsmanager:mocked"}
    outputs.write_text(json.dumps({key: {"value": value} for key, value in found.items()}))
    code = main(["--root", str(clone), "platform", "configure", "--from", str(outputs), *arguments])
    said = capsys.readouterr()
    return code, said.out + said.err


def merge(clone: Path) -> None:
    """Put the proposed head onto the main branch, as a merge on a page does."""
    git(clone, "fetch", "-q", "origin")
    git(clone, "push", "-q", "origin", "origin/platform/configure:main")
    git(clone, "reset", "-q", "--hard", "origin/platform/configure")


def text_of(clone: Path, *kinds: str) -> str:
    paths = [each for kind in kinds for each in sorted(clone.glob(kind))]
    assert paths
    return "\n".join(each.read_text() for each in paths)


@pytest.mark.long
def test_a_dry_run_shows_the_change_and_opens_nothing(clone, capsys):
    before = git(clone, "ls-remote", "origin")
    code, said = configure(clone, capsys, "--dry-run")
    assert code == 0
    assert "Configure the platform for acme-models" in said
    for path in ("modelyard.yaml", "environments/argocd.yaml", "manifests/watch.yaml"):
        assert path in said
    assert git(clone, "ls-remote", "origin") == before


@pytest.mark.long
def test_the_pull_request_fills_in_every_placeholder_once(clone, capsys):
    code, said = configure(clone, capsys, "--as", "ann")
    assert code == 0, said
    assert "#1 is open: Configure the platform for acme-models" in said
    assert configure(clone, capsys, "--as", "ann")[1].startswith("#1 is open")  # no second one
    merge(clone)

    written = text_of(
        clone, "environments/argocd.yaml", "environments/platform/manifests/**/*.yaml"
    )
    for placeholder in ("example.com", "s3://models", "localhost/modelyard"):
        assert placeholder not in written
    assert written.count(f"image: {IMAGE}") > 10
    settings = (clone / "modelyard.yaml").read_text()
    assert settings.startswith("# Ours.\n")
    found = yaml.safe_load(settings)
    assert {key: found[key] for key in found if key not in {"apiVersion", "kind"}} == {
        "forge": "local",
        "orchestrator": "argo",
        "metrics": "prometheus",
        "metrics_uri": OUTPUTS["metrics_uri"],
        "tracking_uri": OUTPUTS["tracking_uri"],
        "artifacts": "s3://acme-models/artifacts",
        "data": ".",
        "server_image": IMAGE,
    }
    assert "rds.amazonaws.com" not in written + settings
    assert main(["--root", str(clone), "validate"]) == 0
    assert main(["--root", str(clone), "render", "--check", "--platform"]) == 0

    capsys.readouterr()
    assert configure(clone, capsys) == (
        0,
        "the main branch is configured for acme-models already\n",
    )


@pytest.mark.long
def test_a_platform_that_moved_is_configured_the_same_way(clone, capsys):
    configure(clone, capsys, "--as", "ann")
    merge(clone)
    # The new name contains the old one, and must not be replaced twice.
    code, said = configure(clone, capsys, "--as", "ann", bucket="acme-models-2")
    assert code == 0, said
    merge(clone)
    written = text_of(clone, "environments/platform/manifests/**/*.yaml", "modelyard.yaml")
    assert written.count("s3://acme-models-2/artifacts") == 4
    assert "s3://acme-models/" not in written
    assert "acme-models-2-2" not in written


def test_an_image_by_digest_takes_the_place_of_the_tag(clone, capsys):
    other = IMAGE.replace("5" * 64, "7" * 64)
    code, said = configure(clone, capsys, "--image", other, "--dry-run")
    assert code == 0
    assert other in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bucket": None}, "missing: bucket"),
        ({"bucket": None, "image": None}, "missing: bucket, image"),
        ({"buckets": "x"}, "unknown: buckets"),
        ({"bucket": "s3://acme"}, "bucket is 's3://acme', and should be the name of a bucket"),
        ({"image": "a b"}, "image is 'a b'"),
        ({"metrics_uri": "prometheus:9090"}, "metrics_uri is 'prometheus:9090'"),
        ({"repository": "x\ny"}, "repository is "),
        ({"database": 5432}, "database is 5432"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_refuses_outputs_that_are_not_those_of_the_platform(change, said):
    outputs = {key: value for key, value in {**OUTPUTS, **change}.items() if value is not None}
    with pytest.raises(Refused) as raised:
        read_platform(json.dumps(outputs), source="outputs.json")
    assert said in str(raised.value)
    assert "outputs.json" in str(raised.value)


@pytest.mark.parametrize("text", ["", "no JSON", "[]"])
def test_refuses_what_is_no_json_object(text):
    with pytest.raises((CannotAnswer, Refused), match="JSON"):
        read_platform(text, source="outputs.json")


def test_the_outputs_of_the_configuration_are_those_that_are_read():
    import re

    from modelyard.operations.platform.configure import FOR_PEOPLE

    written = (ROOT / "environments/platform/aws/outputs.tf").read_text()
    assert set(re.findall(r'^output "(\w+)"', written, re.MULTILINE)) == {*OUTPUTS, *FOR_PEOPLE}
    assert set(Platform.__dataclass_fields__) == OUTPUTS.keys()
