from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from modelyard.cli import main
from modelyard.domain.specs.repository import Repository

GOLDEN = Path(__file__).parents[1] / "golden"
WORKFLOWS = "environments/platform/manifests/workflows"
ENVIRONMENT = "environments/production/environment.yaml"
DASHBOARDS = "environments/platform/manifests/dashboards"


@pytest.fixture
def root(tmp_path):
    copy = tmp_path / "checkout"
    shutil.copytree(GOLDEN / "canary_beside_production", copy)
    return copy


@pytest.fixture
def render(root, capsys):
    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = main(["--root", str(root), "render", *arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def test_checking_what_is_rendered_says_so_and_writes_nothing(render, root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert render("--check") == (0, [], ["2 releases are rendered"])
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_checking_names_each_stale_file_and_the_command_that_repairs(render, root):
    (root / "environments/canary/manifests/pairs/rollout.yaml").write_text("edited: true\n")
    (root / "environments/production/manifests/pairs/monitor.yaml").unlink()
    assert render("--check") == (
        3,
        [
            "environments/canary/manifests/pairs/rollout.yaml is not what its release renders to",
            "environments/production/manifests/pairs/monitor.yaml"
            " is not what its release renders to",
        ],
        ["error: 2 files are stale", "hint: modelyard render"],
    )


def test_rendering_repairs_what_checking_found_and_nothing_else(render, root):
    rollout = root / "environments/canary/manifests/pairs/rollout.yaml"
    monitor = root / "environments/canary/manifests/pairs/monitor.yaml"
    golden, kept = rollout.read_bytes(), monitor.stat().st_mtime_ns
    rollout.write_text("edited: true\n")
    (rollout.parent / "stray.yaml").write_text("")
    assert render() == (
        0,
        [
            "environments/canary/manifests/pairs/rollout.yaml written",
            "environments/canary/manifests/pairs/stray.yaml removed",
        ],
        [],
    )
    assert (rollout.read_bytes(), monitor.stat().st_mtime_ns) == (golden, kept)
    assert render("--check")[0] == 0


def test_a_changed_environment_changes_its_manifests_and_the_digest_in_the_pin(render, root):
    environment = root / "environments/production/environment.yaml"
    environment.write_text(environment.read_text().replace("replicas: 4", "replicas: 6"))
    pin = root / "environments/production/releases/pairs.yaml"
    before = pin.read_text()
    assert render("--check")[0] == 3
    assert render()[1] == ["environments/production/manifests/pairs/rollout.yaml written"]
    assert render("--check")[0] == 0
    assert pin.read_text() != before
    assert re.sub(r"manifests: \w+", "", pin.read_text()) == re.sub(r"manifests: \w+", "", before)


@pytest.mark.parametrize(
    ("options", "stale"),
    [
        (["--environment", "canary"], 1),
        (["--environment", "production"], 0),
        (["--model", "pairs", "--environment", "canary"], 1),
        (["--model", "pairs"], 1),
    ],
)
def test_only_what_was_asked_for_is_looked_at_and_written(render, root, options, stale):
    rollout = root / "environments/canary/manifests/pairs/rollout.yaml"
    rollout.write_text("edited: true\n")
    code, out, _ = render("--check", *options)
    assert (code, len(out)) == (3 if stale else 0, stale)
    render(*options)
    assert (rollout.read_text() == "edited: true\n") is not bool(stale)


def test_names_that_are_not_there_are_refused_with_those_that_are(render):
    assert render("--environment", "moon") == (
        1,
        [],
        [
            "error: the checkout has no valid environments/moon/environment.yaml; "
            "it has canary, production",
            "hint: modelyard validate",
        ],
    )
    assert render("--model", "moon")[2] == [
        "error: the checkout has no valid models/moon/model.yaml; it has pairs",
        "hint: modelyard validate",
    ]


def test_a_checkout_with_a_spec_that_is_none_is_not_rendered(render, root):
    pin = root / "environments/canary/releases/pairs.yaml"
    pin.write_text(pin.read_text().replace("version: v2", "version: ../v2"))
    code, out, err = render()
    assert (code, out) == (3, [])
    assert err[0].startswith("error: environments/canary/releases/pairs.yaml:")


def test_a_write_that_is_interrupted_leaves_the_file_as_it_was(render, root, monkeypatch):
    rollout = root / "environments/canary/manifests/pairs/rollout.yaml"
    rollout.write_text("edited: true\n")

    def full_disk(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full_disk)
        assert render()[0] == 1
    assert rollout.read_text() == "edited: true\n"


# The workflows.


@pytest.fixture
def workflows(root):
    folder = root / "workflows"
    folder.mkdir()
    (folder / "_shared.py").write_text("MINUTES = 5\n")
    (folder / "greet.py").write_text(
        "from _shared import MINUTES\n"
        "from hera.workflows import Container, WorkflowTemplate\n"
        "def template(*, image, models):\n"
        "    with WorkflowTemplate(name='greet', entrypoint='hello') as made:\n"
        "        Container(name='hello', image=image, command=['echo'], args=list(models),\n"
        "                  active_deadline_seconds=MINUTES * 60)\n"
        "    return [made]\n"
    )
    return folder


def test_workflows_are_rendered_with_the_image_and_the_models_that_have_a_feed(
    render, root, workflows
):
    model = root / "models/pairs/model.yaml"
    model.write_text(model.read_text().replace("data:\n", "data:\n  feed: feed/*.parquet\n"))
    assert render("--platform") == (
        0,
        [f"{WORKFLOWS}/greet.yaml written", f"{DASHBOARDS}/modelyard.yaml written"],
        [],
    )
    assert (root / WORKFLOWS / "greet.yaml").read_text() == (
        "# Written by modelyard. Do not edit: change its inputs and run modelyard again.\n"
        "apiVersion: argoproj.io/v1alpha1\n"
        "kind: WorkflowTemplate\n"
        "metadata:\n"
        "  name: greet\n"
        "spec:\n"
        "  entrypoint: hello\n"
        "  templates:\n"
        "  - activeDeadlineSeconds: 300\n"
        "    container:\n"
        "      args:\n"
        "      - pairs\n"
        "      command:\n"
        "      - echo\n"
        f"      image: {Repository().server_image}\n"
        "    name: hello\n"
    )
    assert render("--platform", "--check") == (0, [], [])


def test_a_changed_or_removed_workflow_is_stale_until_it_is_rendered(render, root, workflows):
    render("--platform")
    (workflows / "_shared.py").write_text("MINUTES = 6\n")
    (root / WORKFLOWS / "gone.yaml").write_text("")
    assert render("--platform", "--check") == (
        3,
        [
            f"{WORKFLOWS}/gone.yaml is not what this version renders",
            f"{WORKFLOWS}/greet.yaml is not what this version renders",
        ],
        ["error: 2 files are stale", "hint: modelyard render --platform"],
    )
    assert render("--platform")[1] == [
        f"{WORKFLOWS}/gone.yaml removed",
        f"{WORKFLOWS}/greet.yaml written",
    ]


def test_a_dashboard_of_the_team_and_any_folder_stay_beside_what_is_rendered(
    render, root, workflows
):
    render("--platform")
    for folder in (WORKFLOWS, DASHBOARDS):
        (root / folder / "own").mkdir()
        (root / folder / "own/more.yaml").write_text("own: true\n")
    own = root / DASHBOARDS / "fraud.yaml"
    own.write_text("own: true\n")
    assert render("--platform", "--check") == (0, [], [])

    board = root / DASHBOARDS / "modelyard.yaml"
    rendered = board.read_bytes()
    board.write_text("edited: true\n")
    assert render("--platform", "--check")[:2] == (
        3,
        [f"{DASHBOARDS}/modelyard.yaml is not what this version renders"],
    )
    assert render("--platform") == (0, [f"{DASHBOARDS}/modelyard.yaml written"], [])
    assert board.read_bytes() == rendered
    assert own.read_text() == "own: true\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "workflows/more.py has no function template(*, image, models)"),
        ("from greet import template", "workflows/more.py: greet is defined twice"),
    ],
)
def test_a_file_that_describes_no_workflow_is_named(render, workflows, text, message):
    (workflows / "more.py").write_text(text)
    code, _, err = render("--platform")
    assert (code, err[0]) == (1, f"error: {message}")


def commit_all(root):
    who = ("-c", "user.name=A", "-c", "user.email=a@b")
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", *words], cwd=root, check=True)


@pytest.fixture
def committed_root(root):
    commit_all(root)
    return root


def test_a_check_of_what_changed_reads_no_other_model(render, committed_root):
    (committed_root / "models/other").mkdir()
    (committed_root / "models/other/model.yaml").write_text("not: a model\n")
    commit_all(committed_root)
    assert render("--check", "--changed-since", "HEAD")[0] == 0
    rollout = committed_root / "environments/canary/manifests/pairs/rollout.yaml"
    rollout.write_text("edited: true\n")
    assert render("--check", "--changed-since", "HEAD")[:2] == (
        3,
        ["environments/canary/manifests/pairs/rollout.yaml is not what its release renders to"],
    )


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("environments/canary/releases/pairs.yaml", ["environments/canary/manifests/pairs/"]),
        ("models/pairs/model.yaml", ["environments/canary/manifests/", "models/pairs/model.yaml"]),
    ],
)
def test_a_check_of_what_changed_sees_what_was_removed(render, committed_root, file, found):
    (committed_root / file).unlink()
    code, out, err = render("--check", "--changed-since", "HEAD")
    assert code == 3
    assert any(name in " ".join([*out, *err]) for name in found)


def test_what_changed_goes_with_a_check_alone(render):
    assert render("--changed-since", "HEAD")[0] == 2


@pytest.fixture
def restored(render, committed_root):
    """A rollback restored the first release byte for byte, from before its environment changed."""
    root, pin = committed_root, "environments/production/releases/pairs.yaml"
    first = git(root, "rev-parse", "HEAD")
    changes = {pin: ("version:", "attempt: 2\nversion:"), ENVIRONMENT: ("cas: 4", "cas: 6")}
    for path, (old, new) in changes.items():
        (root / path).write_text((root / path).read_text().replace(old, new))
        assert render()[0] == 0
        assert render("--check")[0] == 0
        git(root, "commit", "-aqm", path)
    git(root, "checkout", "-q", first, "--", pin, "environments/production/manifests/pairs")
    return root


def test_what_a_rollback_restored_is_not_stale_though_its_environment_changed_since(
    render, restored
):
    # Until it is committed nothing tells it from a pin that somebody wrote.
    assert render("--check")[0] == 3
    git(restored, "commit", "-aqm", "Roll back")
    assert render("--check")[0] == 0
    assert render("--check", "--environment", "production")[0] == 0
    assert render("--check", "--changed-since", "HEAD~1")[0] == 0
    git(restored, "commit", "-q", "--allow-empty", "-m", "Something else")
    assert render("--check")[0] == 0


def test_what_a_rollback_restored_is_stale_once_what_it_is_rendered_from_changes_again(
    render, restored
):
    git(restored, "commit", "-aqm", "Roll back")
    environment = restored / ENVIRONMENT
    environment.write_text(environment.read_text().replace("replicas: 6", "replicas: 7"))
    stale = ["environments/production/manifests/pairs/rollout.yaml is not what its release "]
    for _ in ("in the checkout", "as a commit"):
        code, lines, _ = render("--check")
        assert (code, [line[: len(stale[0])] for line in lines]) == (3, stale)
        git(restored, "commit", "-q", "--allow-empty", "-am", "More servers")
    assert render()[0] == 0
    assert render("--check")[0] == 0


def test_what_a_rollback_restored_may_not_be_edited(render, restored):
    git(restored, "commit", "-aqm", "Roll back")
    monitor = restored / "environments/production/manifests/pairs/monitor.yaml"
    monitor.write_text(monitor.read_text() + "# mine\n")
    assert render("--check")[0] == 3


def test_a_pin_that_was_never_there_is_not_a_restored_one(render, restored):
    pin = restored / "environments/production/releases/pairs.yaml"
    pin.write_text(pin.read_text() + "attempt: 3\n")
    git(restored, "commit", "-aqm", "By hand")
    assert render("--check")[0] == 3


def git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", *words],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
