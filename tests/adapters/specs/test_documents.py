from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelyard.adapters.specs import documents
from modelyard.adapters.specs.yaml_reader import LARGEST_INTEGER, MAX_BYTES, MAX_DEPTH
from modelyard.domain.specs.environment import Approvals, Environment, FreezeWindow, Rollout, Step
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.errors import CannotAnswer
from modelyard.yaml_writer import HEADER, represent_text, yaml_bytes

SHA = "0123456789abcdef" * 4

TEXT = st.text(max_size=20) | st.sampled_from(
    [
        "no",
        "on",
        "~",
        "null",
        "<<",
        "=",
        "1e5",
        "0x1F",
        "1_000",
        "1:30",
        "2013-01-01",
        ".inf",
        "- a",
        "# b",
        " c ",
        "'",
        '"',
        "\x00",
        "\x85",
        "\ud7ff",
        "\ufeff",
        "%",
        "e: f",
        "&a *b !c",
    ]
)
NUMBERS = st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | st.floats(
    allow_nan=False, allow_infinity=False
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(TEXT, VALUES, max_size=4)

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
DAYS = st.dates(date(1900, 1, 1), date(2100, 1, 1))
INTERVALS = st.builds(Interval, since=DAYS, until=DAYS)
FILES = st.lists(st.builds(DataFile, uri=TEXT, sha256=st.just(SHA)), max_size=3).map(tuple)
MOMENTS = st.datetimes(timezones=st.just(UTC))
SPECS = st.one_of(
    st.builds(
        Environment,
        name=NAMES,
        description=TEXT,
        namespace=NAMES,
        promotes_from=st.none() | NAMES,
        approvals=st.builds(Approvals, needed=st.integers(0, 3), approvers=st.just(("a", "b"))),
        freeze_windows=st.lists(
            st.builds(FreezeWindow, since=MOMENTS, until=MOMENTS, reason=TEXT), max_size=2
        ).map(tuple),
        rollout=st.builds(
            Rollout,
            steps=st.lists(st.builds(Step, share=st.floats(0, 1)), max_size=2).map(tuple),
            judged=st.booleans(),
        ),
    ),
    st.builds(
        ModelVersion,
        model=NAMES,
        version=NAMES,
        reason=TEXT,
        data=st.builds(
            TrainingData,
            files=FILES,
            window=st.none() | INTERVALS,
            excludes=st.lists(INTERVALS, max_size=2).map(tuple),
        ),
        held_out=st.lists(NAMES, max_size=2).map(tuple),
        code=st.just(Code(tree=SHA[:40])),
        runtime=st.builds(Runtime, lock=st.just(SHA), image=st.none() | TEXT),
        parameters=MAPPINGS,
        seed=st.integers(0, 2**32 - 1),
    ),
    st.builds(
        HeldOut,
        model=NAMES,
        name=NAMES,
        files=FILES,
        cluster=TEXT,
        role=st.sampled_from(Role),
        max_looks=st.integers(1, 9),
        window=st.none() | INTERVALS,
    ),
    st.builds(Repository, forge=st.sampled_from(ForgeKind), data=TEXT),
)


def said(text: bytes) -> list[tuple[int, str]]:
    return [
        (problem.line, problem.message) for problem in documents.load_yaml(text, name="f").problems
    ]


def read(text: str) -> object:
    loaded = documents.load_yaml(text.encode(), name="f")
    assert loaded.problems == ()
    return loaded.document


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no",
        "on",
        "Off",
        "True",
        "NULL",
        "2013-01-01",
        "2013-01-01T00:00:00Z",
        "1:30",
        "0x1F",
        "0o17",
        "017",
        "1_000",
        "+1",
        ".5",
        "5.",
        ".inf",
        "-.inf",
        ".nan",
        "1e",
        "=",
        "- 1",
        "9E",
    ],
)
def test_reads_as_text_what_json_would_not_read_as_a_number_or_word(text: str):
    assert read(f"a: {text}" if text != "- 1" else "a: '- 1'") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("12", 12),
        ("-3", -3),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("-1E-2", -0.01),
        ("9007199254740991", LARGEST_INTEGER),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_reads_numbers_and_words_as_json_would(text: str, value: object):
    found = read(f"a: {text}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize("text", ['"1"', "'true'", '""', '"~"', "|-\n  1", ">-\n  null"])
def test_quoted_values_and_blocks_are_text(text: str):
    assert type(read(f"a: {text}")["a"]) is str


def test_reports_every_problem_of_a_file_with_its_line():
    text = b"a: 1\nb: !!str 2\na: 3\nc: [4, *d]\n5: e\n<<: {f: 6}\ng: 1e999\n---\nh: 7\n"
    assert said(text) == [
        (2, "tag tag:yaml.org,2002:str is not read: values have JSON's types"),
        (3, "key 'a' is there twice"),
        (4, "alias *d is not read: write the value where it is needed"),
        (5, "a key that is not text: put it in quotes"),
        (6, "merge keys (<<) are not read: write the keys out"),
        (7, "number 1e999 is too large; put text in quotes"),
        (8, "holds a second document; one file holds one"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"", 1, "is empty"),
        (b"# only a remark\n", 1, "is empty"),
        (b"a:\n\t- 1\n", 2, "is not YAML: found character that cannot start any token"),
        (
            b"a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n",
            2,
            "has an unsettled merge conflict: edit it, then git add it",
        ),
        (b"a: 1\nb: c: d\n", 2, "is not YAML: mapping values are not allowed in this context"),
        (b"a: 1\nb: \xff\n", 2, "is not readable text: invalid leading UTF-8 octet"),
        (b"a: \x1b[2J\n", 1, "is not readable text: control characters are not allowed"),
        ("a: 1".encode("utf-16"), 1, "is not readable text: write it as UTF-8"),
        (b"[" * (MAX_DEPTH + 1), 1, f"is nested deeper than {MAX_DEPTH} levels"),
        (b"a: 9007199254740992\n", 1, "number 9007199254740992 is too large; put text in quotes"),
        (b"a: " + b"9" * 5000, 1, "number 9999999999999999... is too large; put text in quotes"),
        (b"? [a, b]\n: 1\n", 1, "a key that is not text: put it in quotes"),
    ],
)
def test_refuses_what_cannot_be_read_with_line_and_reason(text: bytes, line: int, words: str):
    loaded = documents.load_yaml(text, name="f")
    assert [(p.line, p.check) for p in loaded.problems] == [(line, "yaml")]
    assert loaded.problems[0].message.startswith(words)


def test_refuses_a_file_that_is_too_large_without_reading_it():
    loaded = documents.load_yaml(b"a" * (MAX_BYTES + 1), name="f")
    assert loaded.document is None
    assert said(b"a" * (MAX_BYTES + 1)) == [
        (1, "holds 1,048,577 bytes; at most 1,048,576 are read")
    ]
    assert documents.load_yaml(b"a" * MAX_BYTES, name="f").problems == ()


def test_a_bomb_of_aliases_is_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    loaded = documents.load_yaml("\n".join(lines).encode(), name="f")
    assert loaded.document is None
    assert len(loaded.problems) == 29 * 9


def test_knows_the_line_of_every_key_and_item():
    text = b"# head\na:\n  b: 1\n  c:\n    - x\n    - {d: 2,\n       e: 3}\nf: 4\n"
    loaded = documents.load_yaml(text, name="f")
    paths = [(), ("a",), ("a", "b"), ("a", "c", 0), ("a", "c", 1), ("a", "c", 1, "e"), ("f",)]
    assert [loaded.line_of(path) for path in paths] == [1, 2, 3, 5, 6, 7, 8]
    assert loaded.line_of(("a", "c", 1, "missing")) == 6
    assert loaded.line_of(("missing",)) == 1


@given(st.binary(max_size=200) | TEXT.map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_whatever_make_the_reader_crash(text: bytes):
    loaded = documents.load_yaml(text, name="f")
    assert loaded.document is None or isinstance(
        loaded.document, (dict, list, str, int, float, bool)
    )
    assert loaded.line_of(("a", 0)) >= 1


@given(
    st.lists(st.sampled_from(["a", ":", " ", "-", "\n", "[", "{", "]", "}", ",", "?", "&x", "*x"]))
)
def test_no_punctuation_whatever_makes_the_reader_crash(parts: list[str]):
    text = "".join(parts).encode()
    loaded = documents.load_yaml(text, name="f")
    assert all(problem.line >= 1 for problem in loaded.problems)
    assert loaded.line_of(("a", "a", 0)) >= 1


@pytest.mark.long
@given(MAPPINGS)
def test_what_is_written_reads_back_as_the_same_value(document: dict[str, object]):
    text = documents.dump_documents([document])
    assert json.dumps(read(text.decode()), sort_keys=True) == json.dumps(document, sort_keys=True)


class WholeTree(yaml.CSafeDumper):
    """PyYAML's own way to the same bytes, by a tree of nodes."""

    def ignore_aliases(self, data: object) -> bool:
        return True


WholeTree.add_representer(str, represent_text)


@pytest.mark.sample(1)
@given(st.lists(VALUES | st.text("ab c:#\n", max_size=150), max_size=3), st.booleans())
def test_writes_the_bytes_that_pyyaml_would(whole: list[object], sort_keys: bool):  # noqa: FBT001
    wanted = yaml.dump_all(
        whole,
        Dumper=WholeTree,
        default_flow_style=False,
        allow_unicode=True,
        encoding="utf-8",
        explicit_start=len(whole) > 1,
        sort_keys=sort_keys,
        width=100,
    )
    assert yaml_bytes(whole, sort_keys=sort_keys) == wanted


def test_writes_zero_with_the_sign_that_it_has():
    assert yaml_bytes([[0.0, -0.0, 0, False, 1.0, 1, True]], sort_keys=True) == (
        b"- 0.0\n- -0.0\n- 0\n- false\n- 1.0\n- 1\n- true\n"
    )


class StrictestReader(yaml.SafeLoader):
    """YAML 1.1 as its specification has it, and the numbers and days of Go's reader."""


for name, pattern in {
    "bool": r"[yYnN]",
    "number": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
    "underscored": r"[-+]?_*[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?",
    "based": r"[-+]?0[xXoObB][0-9a-fA-F_]+",
    "time": r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(T[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}Z)?",
}.items():
    StrictestReader.add_implicit_resolver(f"!{name}", re.compile(rf"(?:{pattern})\Z"), None)
    StrictestReader.add_constructor(f"!{name}", lambda _, node: (node.tag, node.value))

AMBIGUOUS = (
    *("y", "Y", "n", "N", "yes", "No", "on", "OFF", "true", "null", "~", "", "=", "<<"),
    *(
        "1",
        "-1",
        "+1",
        "+3e5",
        "3E5",
        "1_000",
        "1_0e5",
        "-_5",
        "0o7",
        "0O7",
        "0x1F",
        "-0X1f",
        "0b1",
        "017",
    ),
    *("12:30:00", "1:30", ".5", "5.", "+.5", ".inf", ".NaN", "2026-01-02", "2026-1-2"),
    *("2026-01-02T03:04:05Z", "2026-1-2T3:4:5Z"),
)


def spec_with(parameters: dict[str, object]) -> ModelVersion:
    return ModelVersion(
        model="m",
        version="v1",
        reason="r",
        data=TrainingData(files=()),
        held_out=(),
        code=Code(tree="1" * 40),
        runtime=Runtime(lock=SHA),
        parameters=parameters,
    )


@pytest.mark.sample(1)
@pytest.mark.parametrize("reader", [yaml.SafeLoader, StrictestReader])
@given(
    text=st.sampled_from(AMBIGUOUS)
    | TEXT
    | st.text("0123456789_+-.:eExXoObBaftTyYnNZ ", max_size=10)
)
def test_no_reader_takes_text_that_is_written_for_anything_else(reader: type, text: str):
    parameters = {text: text, "list": [text, text]}
    spec = documents.dump_spec("ModelVersion", spec_with(parameters))
    assert yaml.load(spec, reader)["parameters"] == parameters  # noqa: S506 - a SafeLoader
    manifest = documents.dump_documents([parameters])
    assert yaml.load(manifest, reader) == parameters  # noqa: S506 - a SafeLoader


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_ambiguous_text_is_quoted_in_specs_and_manifests(text: str):
    quoted = f"- '{text}'\n".encode()
    assert documents.dump_spec("ModelVersion", spec_with({"a": [text]})).endswith(b"  " + quoted)
    assert documents.dump_documents([{"a": [text]}]).endswith(b"a:\n" + quoted)


@given(text=st.text("ab \n\x85\u2028\u2029", max_size=8))
def test_no_line_ends_where_only_some_readers_end_one(text: str):
    written = documents.dump_documents([{text: text}])
    assert not set("\x85\u2028\u2029") & set(written.decode())
    assert yaml.safe_load(written) == {text: text}


@pytest.mark.long
@given(MAPPINGS)
def test_older_readers_see_the_same_value_in_what_is_written(document: dict[str, object]):
    text = documents.dump_documents([document])
    assert yaml.safe_load(text) == document


@pytest.mark.long
@given(SPECS)
def test_a_spec_survives_being_written_and_read(spec: object):
    kind = type(spec).__name__
    text = documents.dump_spec(kind, spec)
    assert documents.read_spec(type(spec), text, name="f") == spec
    assert documents.dump_spec(kind, documents.document_of(spec)) == text


def test_writes_a_release_in_declared_order_under_the_tools_header():
    release = Release(
        version="v2",
        model="flight-delay",
        environment="dev",
        artifact=f"sha256:{SHA}",
        server_image="localhost/modelyard:1",
        renderer=1,
        manifests=SHA,
    )
    assert documents.dump_spec("Release", release).decode() == (
        "# Written by modelyard. Do not edit: change its inputs and run modelyard again.\n"
        "apiVersion: modelyard/v1\n"
        "kind: Release\n"
        "model: flight-delay\n"
        "environment: dev\n"
        "version: v2\n"
        f"artifact: sha256:{SHA}\n"
        "server_image: localhost/modelyard:1\n"
        "renderer: 1\n"
        f"manifests: {SHA}\n"
    )


def test_writes_a_spec_that_people_own_without_the_header_and_with_sorted_parameters():
    spec = ModelVersion(
        model="m",
        version="v1",
        reason="two\nlines",
        data=TrainingData(files=(DataFile(uri="1e5", sha256=SHA),)),
        held_out=("h",),
        code=Code(tree="1" * 40),
        runtime=Runtime(lock=SHA),
        parameters={"b": {"d": 1, "c": None}, "a": [True, 0.00001]},
    )
    assert documents.dump_spec("ModelVersion", spec).decode() == (
        "apiVersion: modelyard/v1\n"
        "kind: ModelVersion\n"
        "model: m\n"
        "version: v1\n"
        "reason: |-\n"
        "  two\n"
        "  lines\n"
        "data:\n"
        "  files:\n"
        "  - uri: '1e5'\n"
        f"    sha256: {SHA}\n"
        "held_out:\n"
        "- h\n"
        "code:\n"
        f"  tree: '{'1' * 40}'\n"
        "runtime:\n"
        f"  lock: {SHA}\n"
        "parameters:\n"
        "  a:\n"
        "  - true\n"
        "  - 1.0e-05\n"
        "  b:\n"
        "    c: null\n"
        "    d: 1\n"
    )


def test_writes_several_documents_with_sorted_keys_and_no_aliases():
    shared = {"y": 1, "x": [1, 2]}
    text = documents.dump_documents(
        [{"kind": "A", "apiVersion": "v1", "a": shared, "b": shared}, {"c": 1}]
    )
    assert text == HEADER + (
        b"---\na:\n  x:\n  - 1\n  - 2\n  'y': 1\napiVersion: v1\n"
        b"b:\n  x:\n  - 1\n  - 2\n  'y': 1\nkind: A\n"
        b"---\nc: 1\n"
    )


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), LARGEST_INTEGER + 1, {1: 2}, b"bytes", {1, 2}]
)
def test_refuses_to_write_what_json_does_not_have(value: object):
    with pytest.raises(ValueError, match="cannot be written"):
        documents.dump_documents([{"a": value}])


def test_structures_enumerations_days_and_times_in_utc():
    document = {"name": "e", "description": "d", "namespace": "n"}
    window = {"since": "2026-01-01T01:00:00+01:00", "until": "2026-01-02T00:00:00Z", "reason": "r"}
    found = documents.build_spec(Environment, {**document, "freeze_windows": [window]})
    assert found.freeze_windows == (
        FreezeWindow(
            since=datetime(2026, 1, 1, tzinfo=UTC),
            until=datetime(2026, 1, 2, tzinfo=UTC),
            reason="r",
        ),
    )
    assert found.freeze_windows[0].since.tzinfo is UTC
    forge = documents.build_spec(Repository, {"forge": "github"}).forge
    assert forge is ForgeKind.GITHUB


def test_writes_times_in_utc_whatever_their_zone():
    at = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    window = FreezeWindow(since=at, until=at, reason="r")
    assert documents.document_of(window) == {
        "since": "2026-01-01T00:00:00Z",
        "until": "2026-01-01T00:00:00Z",
        "reason": "r",
    }


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"share": "1"}, "'1' is not a number @ Step.share"),
        ({"share": True}, "True is not a number @ Step.share"),
        ({"share": 1, "pause_seconds": 1.5}, "1.5 is not a whole number @ Step.pause_seconds"),
        ({"pause_seconds": 1}, "required field missing @ Step.share"),
        ({"share": 1, "pause": 1}, "extra fields found (pause) @ Step"),
        ([], "not the shape of a Step"),
        (None, "not the shape of a Step"),
    ],
)
def test_refuses_a_document_of_another_shape_with_the_place(document: object, words: str):
    with pytest.raises(CannotAnswer) as caught:
        documents.build_spec(Step, document)
    assert words in caught.value.message


def test_refuses_a_document_of_another_kind():
    document = {"apiVersion": "modelyard/v1", "kind": "Model"}
    with pytest.raises(
        CannotAnswer, match="expected modelyard/v1 Repository, found modelyard/v1 M"
    ):
        documents.build_spec(Repository, document)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"forge: local\nkind: ]", "modelyard.yaml:2: is not YAML"),
        (b"forge: github\nforge: local\n", "modelyard.yaml:2: key 'forge' is there twice"),
        (
            b"forge: gitlab\n",
            "modelyard.yaml: not the shape of a Repository: 'gitlab' is not a valid",
        ),
    ],
)
def test_reading_a_bad_spec_names_the_file_and_the_next_command(text: bytes, words: str):
    with pytest.raises(CannotAnswer) as caught:
        documents.read_spec(Repository, text, name="modelyard.yaml")
    assert caught.value.message.startswith(words)
    assert caught.value.hint == "run `modelyard validate` for all problems"
