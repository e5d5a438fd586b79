"""What a version pins is what every clone of the repository has, and nothing outside of it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.model import DataContract
from modelyard.domain.specs.version import DataFile
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.doctor.checks import git_keeps_every_byte
from modelyard.operations.doctor.runner import Finding
from modelyard.operations.training.data_root import DataRoot
from modelyard.operations.training.kept_pins import kept_problems
from operations.drift_yard import MODEL, Yard, delays_yard

TRAIN = "models/delays/data/train.csv"
CRLF = b"temp,airline,delay\r\n1.5,AA,20\r\n2.5,BB,3\r\n"
LF = CRLF.replace(b"\r\n", b"\n")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n"
WITHOUT_DAYS = replace(
    MODEL, data=DataContract(columns=tuple(c for c in MODEL.data.columns if c.name != "date"))
)


@pytest.fixture
def yard(tmp_path) -> Yard:
    made = delays_yard(tmp_path, WITHOUT_DAYS)
    made.write(".gitignore", b".modelyard/\n/data/\n")
    rows = DataFile(uri="s3://bucket/spring.csv", sha256="1" * 64)
    spring = HeldOut(
        model="delays", name="spring", files=(rows,), cluster="row", role=Role.RECENT, max_looks=9
    )
    made.write("models/delays/heldout/spring.yaml", dump_spec("HeldOut", spring))
    return made


def add_version(yard: Yard, data: str = TRAIN, version: str = "v1"):
    words = ("--reason", "One", "--data", data, "--held-out", "spring")
    return yard.run("version", "new", "delays", version, *words)


def pinned(yard: Yard, version: str = "v1") -> str:
    specs = read_specs(WorkingTree(yard.root))
    return specs.catalog.versions["delays", version].data.files[0].sha256


def problems(yard: Yard) -> list[str]:
    specs = read_specs(WorkingTree(yard.root))
    return [problem.message for problem in kept_problems(yard.root, specs)]


@pytest.mark.parametrize(
    ("attributes", "kept"),
    [(b"* text=auto\n", LF), (b"*.csv text eol=crlf\n", LF), (b"", CRLF), (b"* -text\n", CRLF)],
)
def test_a_pin_is_of_the_bytes_that_git_keeps(yard, attributes, kept):
    yard.write(".gitattributes", attributes)
    yard.write(TRAIN, CRLF)
    yard.publish()
    assert add_version(yard).exit_code == 0
    assert pinned(yard) == sha256(kept).hexdigest()
    assert yard.git.read_file("HEAD", TRAIN) == kept


def test_what_was_pinned_is_what_training_reads_whatever_the_checkout_has(yard):
    yard.write(".gitattributes", b"* text=auto\n")
    yard.write(TRAIN, CRLF)
    yard.publish()
    commit = yard.git.rev_parse("HEAD")
    (yard.root / TRAIN).write_bytes(b"somebody is editing this")
    data = DataRoot(base=".", root=yard.root, commit=commit)
    assert data.read_pinned(DataFile(uri=TRAIN, sha256=sha256(LF).hexdigest())) == LF
    (yard.root / TRAIN).unlink()
    assert data.read(TRAIN) == LF


@pytest.mark.parametrize("data", [TRAIN, "data/train.csv"])
@pytest.mark.parametrize("target", ["/dev/full", "/dev/null/none"])
def test_a_disk_without_room_for_a_copy_is_named_whoever_keeps_the_file(yard, data, target):
    yard.write(data, LF)
    yard.publish()
    root = DataRoot(base=".", root=yard.root, commit=yard.git.rev_parse("HEAD"))
    with pytest.raises(CannotAnswer, match=f"{target}: cannot be written"):
        root.copy_pinned(DataFile(uri=data, sha256=sha256(LF).hexdigest()), Path(target))


def test_a_pin_of_version_0_1_of_the_checkouts_bytes_is_still_read(yard):
    yard.write(".gitattributes", b"* text=auto\n")
    yard.write(TRAIN, CRLF)
    yard.publish()
    data = DataRoot(base=".", root=yard.root, commit=yard.git.rev_parse("HEAD"))
    assert data.read_pinned(DataFile(uri=TRAIN, sha256=sha256(CRLF).hexdigest())) == CRLF
    with pytest.raises(Refused, match=f"{TRAIN}: expected SHA-256 {'0' * 64}, found"):
        data.read_pinned(DataFile(uri=TRAIN, sha256="0" * 64))


def test_a_file_that_differs_from_what_git_has_cannot_be_pinned(yard):
    yard.write(TRAIN, LF)
    yard.publish()
    yard.write(TRAIN, LF + b"3.5,AA,1\n")
    done = add_version(yard)
    assert (done.exit_code, f"{TRAIN}: the file differs from what Git has" in done.stderr) == (
        3,
        True,
    )
    assert f"git add {TRAIN}, or git restore {TRAIN}" in done.stderr
    yard.git.run("add", TRAIN)
    assert add_version(yard).exit_code == 0
    assert pinned(yard) == sha256(LF + b"3.5,AA,1\n").hexdigest()


def test_a_file_whose_time_alone_changed_can_be_pinned(yard):
    yard.write(TRAIN, LF)
    yard.publish()
    os.utime(yard.root / TRAIN, (1, 1))
    assert add_version(yard).exit_code == 0


def test_a_name_with_signs_of_a_pattern_is_one_file(yard):
    yard.write("models/delays/data/a[1].csv", LF)
    yard.write("models/delays/data/a1.csv", b"other\n")
    yard.publish()
    data = DataRoot(base=".", root=yard.root)
    assert data.read("models/delays/data/a[1].csv") == LF


def test_a_pointer_of_lfs_cannot_be_pinned_even_where_the_file_is_here(yard):
    yard.write(TRAIN, POINTER)
    yard.publish()
    done = add_version(yard)
    assert done.exit_code == 3
    assert f"{TRAIN}: is a pointer of Git LFS" in done.stderr
    assert f"git lfs migrate export --include={TRAIN}" in done.stderr


@pytest.mark.parametrize("target", ["real.csv", "../../../outside.csv", "/etc/hostname"])
def test_a_symbolic_link_cannot_be_pinned(yard, target):
    yard.write("models/delays/data/real.csv", LF)
    (yard.root / TRAIN).symlink_to(target)
    yard.publish()
    done = add_version(yard)
    assert done.exit_code == 3
    assert "symbolic link" in done.stderr or "outside of `data`" in done.stderr
    # Not by anybody's checkout, but by the commit alone, too.
    with pytest.raises(Refused):
        DataRoot(base=".", root=yard.root, commit="HEAD").read(TRAIN)


def test_a_file_below_a_linked_folder_cannot_be_pinned(yard):
    yard.write("elsewhere/train.csv", LF)
    (yard.root / "models/delays/data").symlink_to("../../elsewhere")
    yard.publish()
    done = add_version(yard)
    assert done.exit_code == 3
    assert "models/delays/data is a symbolic link" in done.stderr


def submodule(yard: Yard, path: str) -> None:
    other = yard.root.parent / "other"
    subprocess.run(["git", "init", "-q", "-b", "main", other], check=True)
    (other / "train.csv").write_bytes(LF)
    for words in (["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", other, *words], check=True)
    words = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), path)
    yard.git.run(*words)


def test_a_file_of_a_submodule_cannot_be_pinned(yard):
    submodule(yard, "models/delays/data")
    yard.publish()
    done = add_version(yard)
    assert done.exit_code == 3
    assert "models/delays/data is a submodule" in done.stderr


@pytest.mark.parametrize("kind", ["link", "pointer", "submodule"])
def test_a_trainer_with_a_file_that_is_elsewhere_cannot_be_pinned(yard, kind):
    yard.write(TRAIN, LF)
    trainer = yard.root / "models/delays/trainer"
    if kind == "link":
        (trainer / "weights.bin").symlink_to("/etc/hostname")
    elif kind == "pointer":
        (trainer / "weights.bin").write_bytes(POINTER)
    else:
        submodule(yard, "models/delays/trainer/lib")
    yard.publish()
    done = add_version(yard)
    assert done.exit_code == 3
    assert "so the trainer cannot be pinned" in done.stderr
    assert "models/delays/trainer/" in done.stderr


def test_validate_says_that_a_pinned_trainer_is_not_whole(yard):
    yard.write(TRAIN, LF)
    yard.publish()
    add_version(yard)
    (yard.root / "models/delays/trainer/weights.bin").symlink_to("/etc/hostname")
    yard.publish()
    tree = yard.git.rev_parse("HEAD:models/delays/trainer")
    file = yard.root / "models/delays/versions/v1.yaml"
    before = yard.git.rev_parse("HEAD~1:models/delays/trainer")
    file.write_text(file.read_text().replace(before, tree))
    (said,) = problems(yard)
    assert "weights.bin is a symbolic link" in said


def test_validate_says_that_a_pin_is_of_bytes_no_clone_has(yard):
    yard.write(TRAIN, LF)
    yard.publish()
    add_version(yard)
    file = yard.root / "models/delays/versions/v1.yaml"
    wrong = sha256(CRLF).hexdigest()
    file.write_text(file.read_text().replace(pinned(yard), wrong))
    assert problems(yard) == [
        f"{TRAIN} is pinned as {wrong[:12]}..., but Git has {sha256(LF).hexdigest()[:12]}...: "
        "commit the file, and pin it with `modelyard version`"
    ]
    assert yard.run("--root", yard.root, "validate").exit_code == 3


@pytest.mark.parametrize("rule", [b"* text=auto\n", b"*.csv text\n", b"*.csv eol=lf\n"])
def test_validate_says_which_attribute_keeps_the_bytes_of_data(yard, rule):
    yard.write(".gitattributes", rule)
    yard.write(TRAIN, LF)
    yard.publish()
    add_version(yard)
    rule_said = "add the line `models/*/data/** -text` to the end of .gitattributes"
    said = problems(yard)
    if rule != b"*.csv eol=lf\n":
        assert rule_said in said[0]
    yard.write(".gitattributes", rule + b"models/*/data/** -text\n")
    assert problems(yard) == []


def test_doctor_says_what_the_attributes_lack(yard):
    yard.write(TRAIN, LF)
    yard.publish()
    add_version(yard)
    yard.publish()
    yard.git.run("config", "core.autocrlf", "input")
    checkout: Any = SimpleNamespace(
        root=yard.root, git=yard.git, specs=read_specs(WorkingTree(yard.root))
    )
    assert list(git_keeps_every_byte(checkout)) == [
        Finding(
            what=f".gitattributes does not keep the line endings of {TRAIN}",
            fix="echo 'models/*/data/** -text' >> .gitattributes",
        ),
        Finding(
            what="core.autocrlf is input, and .gitattributes lets it change specs",
            fix="echo '*.yaml text eol=lf' >> .gitattributes",
        ),
    ]
    yard.write(".gitattributes", b"models/*/data/** -text\n*.yaml text eol=lf\n")
    assert list(git_keeps_every_byte(checkout)) == []


def test_a_checkout_with_other_line_endings_has_changed_no_spec(yard, tmp_path):
    yard.write(TRAIN, LF)
    yard.publish()
    add_version(yard)
    yard.publish()
    clone = tmp_path / "windows"
    words = ["git", "clone", "-q", "-c", "core.autocrlf=true", tmp_path / "remote.git", clone]
    subprocess.run(words, check=True)
    assert b"\r\n" in (clone / "models/delays/versions/v1.yaml").read_bytes()
    here, there = (read_specs(WorkingTree(root)) for root in (yard.root, clone))
    assert there.files == here.files
    assert there.catalog == here.catalog
    assert kept_problems(clone, there) == ()


def test_an_edited_file_is_read_as_it_is_edited(yard, tmp_path):
    yard.publish()
    text = dump_spec("Model", WITHOUT_DAYS).replace(b"\n", b"\r\n")
    yard.write("models/delays/model.yaml", text + b"# a comment\r\n")
    tree = WorkingTree(yard.root)
    assert tree.read("models/delays/model.yaml") == text + b"# a comment\r\n"


def test_this_repository_keeps_its_own_bytes():
    root = Path(__file__).parents[2]
    assert kept_problems(root, read_specs(WorkingTree(root))) == ()
    rules = (root / ".gitattributes").read_text()
    assert "models/*/data/** -text" in rules


# --- nothing outside of the yard ----------------------------------------------------------------


@pytest.mark.long
def test_a_file_of_the_machine_cannot_be_read_by_any_way(yard, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_bytes(LF)
    (yard.root / "data").mkdir()
    (yard.root / "data/link.csv").symlink_to(secret)
    (yard.root / "data/folder").symlink_to(tmp_path)
    yard.publish()
    for uri in (
        f"file://{secret}",
        f"FILE://{secret}",
        f"file:{secret}",
        f"file://localhost{secret}",
        f"file://{yard.root}/../secret.csv",
        f"file://{yard.root}/%2e%2e/secret.csv",
        f"file://{yard.root}/data/link.csv",
        str(secret),
        "../secret.csv",
        "data/../../secret.csv",
        "data/link.csv",
        "data/folder/secret.csv",
        "~/secret.csv",
    ):
        for run in (
            lambda uri=uri: DataRoot(base=".", root=yard.root).read(uri),
            lambda uri=uri: DataRoot(base=".", root=yard.root).address(uri),
        ):
            with pytest.raises(Refused):
                run()
        done = add_version(yard, uri)
        assert done.exit_code == 3, uri
        done = yard.run("drift", "delays", "--feed", uri)
        assert done.exit_code in {1, 3}


def test_a_folder_that_the_settings_list_may_be_read(yard, tmp_path):
    (tmp_path / "rides").mkdir()
    (tmp_path / "rides/a.csv").write_bytes(LF)
    (tmp_path / "rides/out.csv").symlink_to("/etc/hostname")
    (yard.root / "data").symlink_to(tmp_path / "rides")
    roots = (f"file://{tmp_path}/rides/",)
    data = DataRoot(base=".", root=yard.root, roots=roots)
    assert data.read(f"file://{tmp_path}/rides/a.csv") == LF
    assert data.read("data/a.csv") == LF  # a link to a listed folder
    for uri in ("data/out.csv", f"file://{tmp_path}/rides/out.csv", "s3://bucket/a.csv"):
        with pytest.raises(Refused):
            data.read(uri)


def test_the_folder_of_data_may_be_a_link_itself(yard, tmp_path):
    (tmp_path / "rides").mkdir()
    (tmp_path / "rides/a.csv").write_bytes(LF)
    (yard.root / "data").symlink_to(tmp_path / "rides")
    assert DataRoot(base="data", root=yard.root).read("a.csv") == LF
    with pytest.raises(CannotAnswer):
        DataRoot(base="data", root=yard.root).read("none.csv")
