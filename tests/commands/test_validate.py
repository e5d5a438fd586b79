from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.reader import read_specs
from modelyard.adapters.specs.schemas import schema_folder
from modelyard.cli import cli
from modelyard.operations.training.kept_pins import kept_problems
from modelyard.operations.validation import (
    changed_problems,
    find_changes,
    find_concerned,
    problems_in,
)

EXAMPLES = Path(__file__).parents[1] / "schemas"
SHA = "1a" * 32
MODEL = (EXAMPLES / "model/valid/binary.yaml").read_text(encoding="utf-8")
VERSION = f"""\
apiVersion: modelyard/v1
kind: ModelVersion
model: flight-delay
version: v1
reason: A first answer.
data:
  files:
    - {{uri: data/spring.parquet, sha256: {SHA}}}
  window: {{since: 2013-01-01, until: 2013-04-01}}
held_out: [april]
code: {{tree: {SHA[:40]}}}
runtime: {{lock: {SHA}}}
parameters: {{features: [origin, visib]}}
"""
HELD_OUT = f"""\
apiVersion: modelyard/v1
kind: HeldOut
model: flight-delay
name: april
files: [{{uri: data/april.parquet, sha256: {SHA}}}]
cluster: date
role: recent
max_looks: 5
window: {{since: 2013-04-02, until: 2013-05-01}}
"""
V1 = "models/flight-delay/versions/v1.yaml"
FILES = {
    "modelyard.yaml": "apiVersion: modelyard/v1\nkind: Repository\n",
    "models/flight-delay/model.yaml": MODEL,
    "models/flight-delay/heldout/april.yaml": HELD_OUT,
    V1: VERSION,
}


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def git(root: Path, *args: str) -> None:
    subprocess.run(["git", *args], cwd=root, check=True, capture_output=True)


def commit(root: Path, message: str) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    write(tmp_path, FILES)
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "Start")
    return tmp_path


@pytest.fixture
def validate(checkout: Path) -> Callable[..., Result]:
    def run(*args: str) -> Result:
        return CliRunner().invoke(cli, ["--root", str(checkout), "validate", *args])

    return run


def record(spec: bytes) -> str:
    return (
        (EXAMPLES / "record/valid/training-refused.yaml")
        .read_text(encoding="utf-8")
        .replace("version: v6", "version: v1")
        .replace("spec: ", f"spec: {sha256(spec).hexdigest()} # ")
    )


def test_says_how_many_specs_are_valid_on_stderr(validate: Callable[..., Result]):
    done = validate()
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "4 specs are valid\n")


def test_prints_file_and_line_of_every_problem_and_answers_no(
    checkout: Path, validate: Callable[..., Result]
):
    write(checkout, {V1: VERSION.replace("[april]", "[may]").replace("origin", "orign")})
    done = validate()
    assert done.exit_code == 3
    assert done.stdout.splitlines() == [
        f"{V1}:10: there is no held-out set may: models/flight-delay/heldout/may.yaml is missing "
        "[held-out-sets-exist]",
        f"{V1}:13: feature orign is no column of flight-delay: declare it in data.columns "
        "[features-are-columns]",
    ]
    assert done.stderr == "error: 2 problems in 1 file\n"


def test_a_model_that_asks_for_grpc_needs_a_lock_of_it(
    checkout: Path, validate: Callable[..., Result]
):
    own = "models/flight-delay/trainer/requirements.lock"
    asked = f"{MODEL}server: {{grpc: true}}\n"
    found = []
    for lock in (None, "numpy==2.3.0\n", "grpcio==1.85.1 ; python_version > '3' \\\n  --hash=x\n"):
        write(checkout, {"models/flight-delay/model.yaml": asked, **({own: lock} if lock else {})})
        done = validate()
        found.append((done.exit_code, done.stdout))

    where, hint = f"models/flight-delay/model.yaml:{asked.count(chr(10))}", "no grpcio: modelyard"
    assert [code for code, _ in found] == [3, 3, 0]
    for lock, (_, said) in zip(("requirements-runtime.lock", own), found, strict=False):
        assert f"{where}: it asks for gRPC, and {lock} has {hint}" in said
        assert "runtime lock flight-delay" in said


def test_prints_json_of_its_schema(checkout: Path, validate: Callable[..., Result]):
    schema = json.loads((schema_folder() / "output/validate.schema.json").read_bytes())
    checker = jsonschema.Draft202012Validator(schema)
    done = validate("--output", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (
        0,
        {"valid": True, "files": 4, "problems": []},
    )
    write(checkout, {V1: VERSION.replace("[april]", "[may]")})
    done = validate("--output", "json")
    document = json.loads(done.stdout)
    checker.validate(document)
    assert document == {
        "valid": False,
        "files": 4,
        "problems": [
            {
                "file": V1,
                "line": 10,
                "path": ["held_out", 0],
                "message": "there is no held-out set may: models/flight-delay/heldout/may.yaml "
                "is missing",
                "check": "held-out-sets-exist",
                "involves": ["models/flight-delay/heldout/may.yaml"],
            }
        ],
    }


def test_annotates_a_pull_request_with_everything_escaped(
    checkout: Path, validate: Callable[..., Result]
):
    name = "models/flight-delay/versions/a,b:c%.yml"
    write(checkout, {name: VERSION, V1: VERSION.replace("[april]", '["50%\\n::x"]')})
    done = validate("--output", "github")
    assert done.stdout.splitlines() == [
        "::error file=models/flight-delay/versions/a%2Cb%3Ac%25.yml,line=1,title=place::is not "
        "read: specs here are files that end in .yaml, without folders",
        f'::error file={V1},line=10,title=schema::held_out[0]: "50%25\\n::x" does not fit: '
        "lower-case letters, digits and `-`, first a letter, last no `-`, at most 40 characters",
    ]


def test_annotates_no_more_than_github_shows(checkout: Path, validate: Callable[..., Result]):
    write(checkout, {f"models/flight-delay/versions/v{n}.yml": "" for n in range(10, 20)})
    assert len(validate("--output", "github").stdout.splitlines()) == 10
    write(checkout, {"models/flight-delay/versions/v20.yml": ""})
    lines = validate("--output", "github").stdout.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "::error ::2 more problems; `modelyard validate` lists all of them"


def test_a_file_name_cannot_drive_the_terminal(checkout: Path, validate: Callable[..., Result]):
    write(checkout, {"models/flight-delay/versions/\x1b[2J\nv.yml": ""})
    first = validate().stdout.splitlines()[0]
    assert first.startswith("models/flight-delay/versions/\\x1b[2J\\nv.yml:1: is not read")


def test_reports_only_what_involves_changed_files(checkout: Path, validate: Callable[..., Result]):
    old = VERSION.replace("v1", "v0").replace("[april]", "[march]")
    write(checkout, {"models/flight-delay/versions/v0.yaml": old})
    commit(checkout, "Add a version with a problem")
    assert validate().exit_code == 3
    assert validate("--changed-since", "HEAD").exit_code == 0
    write(checkout, {"README.md": "Changed.\n"})
    assert validate("--changed-since", "HEAD").exit_code == 0
    moved = HELD_OUT.replace("since: 2013-04-02", "since: 2013-03-01")
    write(checkout, {"models/flight-delay/heldout/april.yaml": moved})
    found = validate("--changed-since", "HEAD").stdout.splitlines()
    assert [line.partition(": ")[0] for line in found] == [f"{V1}:9", f"{V1}:10"]


def test_new_files_count_as_changed(checkout: Path, validate: Callable[..., Result]):
    write(checkout, {"models/flight-delay/versions/v2.yaml": VERSION})
    done = validate("--changed-since", "main")
    assert [line.rpartition(" ")[2] for line in done.stdout.splitlines()] == ["[names-match-paths]"]


def test_compares_with_where_the_branch_began(checkout: Path, validate: Callable[..., Result]):
    git(checkout, "switch", "-q", "-c", "mine")
    git(checkout, "switch", "-q", "main")
    write(checkout, {V1: VERSION.replace("[april]", "[may]")})
    commit(checkout, "Break main")
    git(checkout, "switch", "-q", "mine")
    assert validate("--changed-since", "main").exit_code == 0


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("models/flight-delay/records/v1.yaml", "threads: 2", "has changed"),
        ("models/flight-delay/records/v1.yaml", None, "is gone"),
        (V1, "# a remark", "has changed"),
        (V1, None, "is gone"),
    ],
)
def test_refuses_to_rewrite_records_and_what_they_are_of(
    checkout: Path, validate: Callable[..., Result], path: str, change: str | None, message: str
):
    write(checkout, {"models/flight-delay/records/v1.yaml": record(VERSION.encode())})
    commit(checkout, "Record v1")
    assert validate("--changed-since", "HEAD").exit_code == 0
    text = (checkout / path).read_text(encoding="utf-8")
    if change is None:
        (checkout / path).unlink()
    else:
        write(checkout, {path: f"{text.replace('threads: 1', 'threads: 2')}# {change}\n"})
    done = validate("--changed-since", "HEAD")
    assert done.exit_code == 3
    assert f"{path}:1: {message}" in done.stdout
    assert "[append-only]" in done.stdout


def test_a_version_that_was_changed_all_the_same_may_be_put_back_as_it_was_trained(
    checkout: Path, validate: Callable[..., Result]
):
    changed = {V1: VERSION + "# a remark\n"}
    write(checkout, {**changed, "models/flight-delay/records/v1.yaml": record(VERSION.encode())})
    commit(checkout, "Record v1, whose spec another pull request changed")
    assert validate("--changed-since", "HEAD").exit_code == 0
    write(checkout, {V1: VERSION})
    assert validate("--changed-since", "HEAD").exit_code == 0
    write(checkout, {V1: VERSION + "# another remark\n"})
    assert "has changed" in validate("--changed-since", "HEAD").stdout


def test_a_record_may_be_added(checkout: Path, validate: Callable[..., Result]):
    write(checkout, {"models/flight-delay/records/v1.yaml": record(VERSION.encode())})
    assert validate("--changed-since", "HEAD").exit_code == 0


def test_refuses_other_rows_in_a_set_that_was_looked_at_but_not_its_retirement(
    checkout: Path, validate: Callable[..., Result]
):
    digest = f"sha256:{SHA}"
    looked = record(VERSION.encode()) + (
        "held_out:\n"
        f"  - {{name: april, digest: '{digest}', rows: 1, unlabelled: 0, clusters: 1, look: 1,\n"
        f"     metrics: {{}}, scores: '{digest}', verdict: {{outcome: pass, reason: Fine.}}}}\n"
    )
    write(checkout, {"models/flight-delay/records/v1.yaml": looked})
    commit(checkout, "Record v1")
    april = "models/flight-delay/heldout/april.yaml"
    write(checkout, {april: HELD_OUT.replace("max_looks: 5", "max_looks: 9") + "retired: true\n"})
    assert validate("--changed-since", "HEAD").exit_code == 0
    write(checkout, {april: HELD_OUT.replace("until: 2013-05-01", "until: 2013-04-20")})
    done = validate("--changed-since", "HEAD")
    assert done.stdout.splitlines() == [
        f"{april}:9: window has changed, but versions were judged on this set: add another "
        "[append-only]"
    ]


def named(text: str, name: str) -> str:
    return text.replace("flight-delay", name)


@pytest.fixture
def fleet(checkout: Path) -> Path:
    """Three more models: one that pins the same data, and two with data of their own."""
    for name in ("same", "apart", "apart-too"):
        texts = (MODEL, VERSION, HELD_OUT)
        if name != "same":
            texts = tuple(text.replace("uri: data/", f"uri: data/{name}-") for text in texts)
        model, version, held_out = (named(text, name) for text in texts)
        write(
            checkout,
            {
                f"models/{name}/model.yaml": model,
                f"models/{name}/versions/v1.yaml": version.replace("[april]", "[april, may]"),
                f"models/{name}/heldout/april.yaml": held_out,
            },
        )
    commit(checkout, "Add models, each with a problem")
    return checkout


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ({"README.md": "x"}, set()),
        ({"models/apart/model.yaml": named(MODEL, "a-part")}, {"apart"}),
        ({"models/apart/model.yaml": None}, {"apart"}),
        ({"models/apart/versions/v1.yml": "x"}, {"apart"}),
        ({"environments/dev/releases/apart.yml": "x"}, set()),
        ({"environments/dev/releases/apart.yaml": "x"}, {"apart"}),
        ({"models/apart/heldout/april.yaml": None}, {"apart"}),
        ({V1: VERSION.replace(SHA, "2b" * 32)}, {"flight-delay", "same"}),
        ({V1: VERSION.replace("data/spring", "data/apart-spring")}, {"apart", "flight-delay"}),
        ({"data/spring.parquet": "x"}, {"flight-delay", "same"}),
        ({"data/apart-april.parquet": "x"}, {"apart"}),
        ({"modelyard.yaml": "x"}, None),
        ({".gitattributes": "* text"}, None),
        ({"environments/dev/environment.yaml": "x"}, None),
    ],
)
def test_finds_what_a_look_at_everything_finds_of_what_changed(
    fleet: Path, changes: dict[str, str | None], read: set[str] | None
):
    for path, text in changes.items():
        if text is None:
            (fleet / path).unlink()
        else:
            write(fleet, {path: text})
    git(fleet, "add", "-A")
    changed, base = find_changes(fleet, "HEAD")
    specs = read_specs(WorkingTree(fleet))
    kept = kept_problems(fleet, specs)
    assert changed_problems(fleet, "HEAD")[0] == problems_in(
        specs, changed=changed, base=base, kept=kept
    )
    assert find_concerned(WorkingTree(fleet), changed) == read


def test_reads_the_model_whose_name_collides_with_a_new_one(fleet: Path):
    place = (
        "{{apiVersion: modelyard/v1, kind: Environment, name: {0}, description: x, namespace: {0}}}"
    )
    names = ("blue", "blue-apart")
    write(fleet, {f"environments/{n}/environment.yaml": place.format(n) for n in names})
    commit(fleet, "Add environments")
    write(fleet, {"models/apart-apart/model.yaml": named(MODEL, "apart-apart")})
    found = {each.message for each in changed_problems(fleet, "HEAD")[0]}
    assert any("in Argo CD blue-apart-apart is" in message for message in found)


def test_an_unknown_ref_is_no_answer(validate: Callable[..., Result]):
    done = validate("--changed-since", "nowhere")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: --changed-since nowhere: ")
    assert done.stderr.endswith("hint: fetch it, with enough history\n")


@pytest.mark.long
def test_imports_nothing_heavy(checkout: Path):
    heavy = [
        "mlflow",
        "evidently",
        "kserve",
        "hera",
        "pandas",
        "numpy",
        "scipy",
        "sklearn",
        "pyarrow",
        "jsonschema",
        "rich",
    ]
    code = (
        "import sys\nfrom modelyard.cli import main\n"
        f"code = main(['--root', {str(checkout)!r}, 'validate'])\n"
        f"print(code, sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0 []\n"
