from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes import lock as locks
from modelyard.operations.runtimes.lock import extra_requirements, lock_model, refuse_unlocked
from runtimes import borrowing_lock, offline_uv

WISHES, LOCK = "models/m/trainer/requirements.in", "models/m/trainer/requirements.lock"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, where serving needs `served` and an index has two packages."""
    for name in ("served", "borrowed"):
        borrowing_lock(tmp_path / "wheels", name, libraries=False)
    for name, value in offline_uv(tmp_path / "wheels").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(locks, "extra_requirements", lambda _: ["served>=1"])
    (tmp_path / "models/m/trainer").mkdir(parents=True)
    return tmp_path


def test_a_lock_has_what_the_trainer_wishes_and_what_serving_needs_by_hash(root):
    (root / WISHES).write_text("borrowed\n")

    lock_model(root, "m")

    pins = (root / LOCK).read_text()
    wheels = {path.name: path for path in (root / "wheels").iterdir()}
    for name in ("borrowed", "served"):
        digest = hashlib.sha256(wheels[f"{name}-1.0-py3-none-any.whl"].read_bytes()).hexdigest()
        assert f"{name}==1.0 \\\n    --hash=sha256:{digest}" in pins
    assert str(root) not in pins  # it is the same on every machine


def test_wishes_that_do_not_go_with_serving_are_refused_with_both(root):
    (root / WISHES).write_text("served<1\n")
    (root / LOCK).write_text("before\n")

    with pytest.raises(Refused, match="cannot be locked together") as error:
        lock_model(root, "m")
    assert all(word in str(error.value) for word in (WISHES, "served<1", "served>=1"))
    assert (root / LOCK).read_text() == "before\n"


def test_a_package_that_the_index_does_not_have_is_no_conflict_with_serving(root):
    (root / WISHES).write_text("borrowed @ file:///nowhere/borrowed-1.0-py3-none-any.whl\n")

    with pytest.raises(CannotAnswer, match="uv pip compile ended with exit code"):
        lock_model(root, "m")


def test_a_model_without_wishes_is_told_where_to_write_them(root):
    with pytest.raises(CannotAnswer, match=WISHES) as error:
        lock_model(root, "m")
    assert "requirements-runtime.lock" in (error.value.hint or "")


def test_a_model_that_asks_for_grpc_is_locked_with_it(root, monkeypatch):
    needs = {"serving": ["served>=1"], "grpc": ["grpcio==1.0"], "sklearn": ["borrowed"]}
    monkeypatch.setattr(locks, "extra_requirements", needs.__getitem__)
    borrowing_lock(root / "wheels", "grpcio", libraries=False)
    (root / WISHES).write_text("borrowed\n")

    def names() -> list[str]:
        return re.findall(r"^(\w+)==", (root / LOCK).read_text(), re.MULTILINE)

    lock_model(root, "m")
    assert names() == ["borrowed", "served"]
    with pytest.raises(Refused) as refused:
        refuse_unlocked(root, "m", has_grpc=True)
    lock_model(root, "m", has_grpc=True)
    assert names() == ["borrowed", "grpcio", "served"]
    refuse_unlocked(root, "m", has_grpc=True)

    assert refused.value.message == (
        f"models/m/model.yaml: server.grpc asks for gRPC, and {LOCK} has no grpcio"
    )
    assert refused.value.hint == "modelyard runtime lock m"


def test_a_model_of_the_platforms_runtime_that_asks_for_grpc_gets_its_own(root, monkeypatch):
    needs = {"serving": ["served>=1"], "grpc": ["grpcio==1.0"], "sklearn": ["borrowed"]}
    monkeypatch.setattr(locks, "extra_requirements", needs.__getitem__)
    borrowing_lock(root / "wheels", "grpcio", libraries=False)
    (root / "requirements-runtime.lock").write_text("borrowed==1.0\n")
    with pytest.raises(Refused, match="lock has no grpcio"):
        refuse_unlocked(root, "m", has_grpc=True)

    lock_model(root, "m", has_grpc=True)

    assert "grpcio==1.0" in (root / LOCK).read_text()
    refuse_unlocked(root, "m", has_grpc=True)


def test_the_platforms_lock_has_no_grpc_of_which_no_model_has_asked():
    assert "grpcio" not in Path("requirements-runtime.lock").read_text()
    assert "grpcio" not in Path("requirements-image.lock").read_text()


def test_an_installed_toolkit_knows_what_serving_needs_from_its_metadata(monkeypatch):
    known = [
        "click>=8",
        "numpy<3,>=2; extra == 'serving'",
        'kserve==0.21.0 ; extra == "serving"',
        "skops; extra == 'sklearn'",
    ]
    monkeypatch.setattr(locks, "requires", lambda _: known)
    monkeypatch.setattr(locks, "__file__", "/nowhere/a/b/c/d/lock.py")

    assert extra_requirements("serving") == ["numpy<3,>=2", "kserve==0.21.0"]


def test_the_platforms_lock_has_what_serving_needs():
    lock = Path("requirements-runtime.lock").read_text()
    for wish in (*extra_requirements("serving"), *extra_requirements("sklearn")):
        name = re.split("[<>=]", wish)[0]
        assert re.search(rf"^{name}==", lock, re.MULTILINE), name


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("borrowed==2.0", "asks for borrowed==2.0, {lock} has borrowed==1.0"),
        ("borrowed\nother[x]>=3", "asks for other[x]>=3, {lock} has none"),
        (
            "o @ https://example.org/o.whl",
            "asks for o @ https://example.org/o.whl, {lock} has none",
        ),
    ],
)
def test_a_wish_that_was_not_locked_is_refused(root, wish, said):
    (root / WISHES).write_text("borrowed\n")
    lock_model(root, "m")
    refuse_unlocked(root, "m")
    (root / WISHES).write_text(f"{wish}\n")
    with pytest.raises(Refused) as refused:
        refuse_unlocked(root, "m")
    assert refused.value.message == f"{WISHES} {said.format(lock=LOCK)}"
    assert refused.value.hint == "modelyard runtime lock m"


@pytest.mark.parametrize(
    "wishes",
    ["", "# none\n", "-r more.in\n./wheels/a.whl\n", "other; sys_platform == 'none'\n"],
)
def test_what_cannot_be_compared_with_a_lock_is_left_to_uv(root, wishes):
    (root / WISHES).write_text(wishes)
    refuse_unlocked(root, "m")


def test_a_wish_that_is_locked_as_a_file_of_unknown_version_is_locked(root):
    (root / WISHES).write_text("o @ https://example.org/o-3.whl\no>=2\nodd===x-1\n")
    (root / LOCK).write_text("o @ https://example.org/o-3.whl\nodd===x-1\n")
    refuse_unlocked(root, "m")


def test_a_model_without_wishes_needs_no_lock(root):
    refuse_unlocked(root, "m")


def test_wishes_without_a_lock_are_refused(root):
    (root / WISHES).write_text("borrowed\n")
    with pytest.raises(Refused, match=f"asks for borrowed, {LOCK} has none"):
        refuse_unlocked(root, "m")
