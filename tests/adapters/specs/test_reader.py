from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from fakes import Files
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree, WorkingTree
from modelyard.adapters.specs.reader import read_specs, read_valid_catalog
from modelyard.domain.problem import Problem
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.errors import Refused

EXAMPLES = Path(__file__).parents[2] / "schemas"
SETTINGS = "apiVersion: modelyard/v1\nkind: Repository\nforge: github\n"
DEV = "apiVersion: modelyard/v1\nkind: Environment\nname: dev\ndescription: d\nnamespace: dev\n"


def example(kind: str, name: str) -> str:
    return (EXAMPLES / kind / "valid" / f"{name}.yaml").read_text(encoding="utf-8")


MODEL = example("model", "binary")
VERSION = example("model-version", "retrained")
FILES = {
    "modelyard.yaml": SETTINGS,
    "environments/dev/environment.yaml": DEV,
    "environments/dev/manifests/flight-delay/rollout.yaml": "not: [a, spec\n",
    "environments/dev/releases/flight-delay.yaml": example("release", "first-attempt"),
    "models/flight-delay/heldout/april.yaml": example("held-out", "old-and-retired"),
    "models/flight-delay/model.yaml": MODEL,
    "models/flight-delay/records/v2.yaml": example("record", "compared-with-a-champion"),
    "models/flight-delay/trainer/settings.yaml": "not: [a, spec\n",
    "models/flight-delay/versions/README.md": "The versions.\n",
    "models/flight-delay/versions/v5.yaml": VERSION,
    "models/other/model.yaml": MODEL.replace("flight-delay", "other"),
}


def test_reads_every_spec_by_the_names_in_its_path():
    specs = read_specs(Files(FILES))
    assert specs.problems == ()
    catalog = specs.catalog
    assert sorted(catalog.models) == ["flight-delay", "other"]
    assert list(catalog.versions) == [("flight-delay", "v5")]
    assert list(catalog.held_out) == [("flight-delay", "april")]
    assert list(catalog.records) == [("flight-delay", "v2")]
    assert list(catalog.environments) == ["dev"]
    assert list(catalog.releases) == [("dev", "flight-delay")]
    assert catalog.digests == {("flight-delay", "v5"): hashlib.sha256(VERSION.encode()).hexdigest()}
    assert catalog.versions["flight-delay", "v5"].parent == "v2"
    assert specs.repository == Repository(forge=ForgeKind.GITHUB)


def test_reads_one_model_alone_with_every_environment():
    broken = {**FILES, "models/flight-delay/model.yaml": "a: ["}
    specs = read_specs(Files(broken), models=["other"])
    assert specs.problems == ()
    assert list(specs.catalog.models) == ["other"]
    assert list(specs.catalog.environments) == ["dev"]
    assert specs.catalog.versions == {}
    assert specs.catalog.releases == {}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("environments/platform/environment.yaml", DEV.replace("name: dev", "name: platform")),
        ("environments/platform/releases/flight-delay.yaml", example("release", "first-attempt")),
        ("environments/platform/releases/flight-delay.yml", "not: [a, spec\n"),
    ],
)
@pytest.mark.parametrize("models", [None, ["other"]], ids=["all", "one"])
def test_the_folder_of_the_platform_is_no_environment_for_whomever_reads(path, text, models):
    specs = read_specs(Files({**FILES, path: text}), models=models)
    assert list(specs.catalog.environments) == ["dev"]
    assert [environment for environment, _ in specs.catalog.releases] == ["dev"] * (not models)
    said = "is not read: environments/platform/ is the platform's folder, and no environment"
    assert [(one.file, one.message) for one in specs.problems] == ([(path, said)] * (not models))


def test_a_model_whose_name_begins_like_another_is_not_read_with_it():
    files = {**FILES, "models/flight-delay-2/model.yaml": MODEL}
    assert list(read_specs(Files(files), models=["flight-delay"]).catalog.models) == [
        "flight-delay"
    ]


def test_reports_every_problem_of_every_file_with_its_line():
    files = {
        **FILES,
        "models/flight-delay/model.yaml": MODEL.replace("auc", "f1").replace("task: b", "tusk: b"),
        "models/flight-delay/versions/v5.yaml": VERSION + "seed: 8\n",
        "models/flight-delay/versions/v6.yml": VERSION,
        "models/flight-delay/versions/old/v4.yaml": VERSION,
    }
    del files["modelyard.yaml"]
    found = [(p.file, p.line, p.check) for p in read_specs(Files(files)).problems]
    assert found == [
        ("models/flight-delay/model.yaml", 1, "schema"),
        ("models/flight-delay/model.yaml", 6, "schema"),
        ("models/flight-delay/model.yaml", 20, "schema"),
        ("models/flight-delay/versions/old/v4.yaml", 1, "place"),
        ("models/flight-delay/versions/v5.yaml", 27, "yaml"),
        ("models/flight-delay/versions/v6.yml", 1, "place"),
        ("modelyard.yaml", 1, "place"),
    ]


def test_a_file_that_is_not_of_its_shape_is_not_in_the_catalog():
    files = {**FILES, "models/flight-delay/versions/v5.yaml": VERSION + "seed: 8\n"}
    assert read_specs(Files(files)).catalog.versions == {}


def test_problems_that_follow_from_an_unreadable_file_are_left_out():
    files = {**FILES, "models/flight-delay/model.yaml": "a: ["}
    messages = [problem.message for problem in read_specs(Files(files)).all_problems()]
    assert "is not YAML: did not find expected node content (while parsing a flow node)" in messages
    assert not [words for words in messages if "there is no model" in words]


def test_problems_between_files_have_the_line_of_their_place():
    found = read_specs(Files(FILES)).all_problems()
    assert [p for p in found if p.check == "held-out-sets-exist"] == [
        Problem(
            file="models/flight-delay/versions/v5.yaml",
            line=16,
            path=("held_out", 1),
            message="held-out set april is retired: use another one",
            check="held-out-sets-exist",
            involves=("models/flight-delay/heldout/april.yaml",),
        ),
        Problem(
            file="models/flight-delay/versions/v5.yaml",
            line=16,
            path=("held_out", 0),
            message=(
                "there is no held-out set june: models/flight-delay/heldout/june.yaml is missing"
            ),
            check="held-out-sets-exist",
            involves=("models/flight-delay/heldout/june.yaml",),
        ),
    ]


def test_an_empty_document_is_a_problem_and_no_crash():
    found = read_specs(Files({**FILES, "environments/dev/environment.yaml": "---\n"})).problems
    assert [(p.file, p.message) for p in found] == [
        ("environments/dev/environment.yaml", "null is not of type 'object'")
    ]


def test_a_day_that_no_calendar_of_ours_has_is_a_problem_and_no_crash():
    text = VERSION.replace("since: 2013-01-01", "since: 0000-01-01")
    found = read_specs(Files({**FILES, "models/flight-delay/versions/v5.yaml": text})).problems
    assert [p.file for p in found] == ["models/flight-delay/versions/v5.yaml"]


def test_an_invalid_tree_is_refused_with_the_first_problem_and_the_next_command():
    assert read_valid_catalog(Files(FILES)).models.keys() == {"flight-delay", "other"}
    with pytest.raises(Refused) as caught:
        read_valid_catalog(Files({**FILES, "models/other/model.yaml": "a: 1\na: 2\n"}))
    assert caught.value.message.startswith("models/other/model.yaml:1: ")
    assert caught.value.message.endswith(" more)")
    assert caught.value.hint == "run `modelyard validate` for all problems"


def test_a_checkout_and_its_commit_say_the_same(tmp_path: Path):
    for path, text in FILES.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for args in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", *args], cwd=tmp_path, check=True)
    expected = read_specs(Files(FILES))
    assert read_specs(WorkingTree(tmp_path)) == expected
    assert read_specs(GitTree(Git(tmp_path), "HEAD")) == expected
