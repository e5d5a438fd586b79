"""What the store has is opened only if a key that the policy lists signed every byte of it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.cluster.test_local import DEV, FixedClock, Yard
from modelyard.adapters.cluster.local import LocalCluster
from modelyard.adapters.cluster.local_state import Server, State, apply_keys
from modelyard.adapters.isolation.confinement import Reach
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.store.signatures import fetch_artifact, sign_artifact
from modelyard.adapters.store.signing_keys import SIGNING_KEY, SigningKey, read_key, write_key
from modelyard.artifact_digest import artifact_digest
from modelyard.commands.signature import signature
from modelyard.commands.step import fetch_model
from modelyard.domain.signatures import Asked, key_hint
from modelyard.domain.specs.model import ArtifactPolicy, Trusted
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import OrchestratorKind, Repository
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.operations.signing.keys import (
    POD_KEY,
    find_key,
    refuse_key_beside_code,
    refuse_reachable_key,
)
from serving.artifacts import MODEL, shared_artifact

FILES = {"model/MLmodel": b"flavors: {}\n", "model/model.txt": b"tree\n", "serving.json": b"{}\n"}


class Shelf:
    """A store with one artifact, the key that may sign it, and another one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(str(root / "store"), root)
        self.key, self.other = self.new_key("key.pem"), self.new_key("other.pem")
        self.asked = Asked(model="m", version="v2", keys=(self.key.public,))
        self.digest = self.put("made", FILES)

    def new_key(self, name: str) -> SigningKey:
        write_key(self.root / name)
        return read_key(self.root / name)

    def put(self, name: str, files: dict[str, bytes]) -> str:
        for each, content in files.items():
            (self.root / name / each).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name / each).write_bytes(content)
        digest = artifact_digest(self.root / name)
        self.store.put_model(self.root / name, digest)
        return digest

    def sign(
        self, key: SigningKey | None = None, *, version: str = "v2", made: str = "made"
    ) -> None:
        folder = self.root / made
        sign_artifact(self.store, folder, key or self.key, model="m", version=version)

    def kept(self, name: str = "") -> Path:
        return self.root / "store" / "models" / self.digest.removeprefix("sha256:") / name

    def signature(self, version: str = "v2", digest: str | None = None) -> Path:
        name = (digest or self.digest).removeprefix("sha256:")
        return self.root / "store" / "models" / "signatures" / name / f"m@{version}.json"

    def fetch(self) -> Path:
        return fetch_artifact(self.store, self.digest, self.root / "fetched", self.asked)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_what_was_signed_is_fetched(shelf):
    shelf.sign()

    assert (shelf.fetch() / "model/model.txt").read_bytes() == b"tree\n"


def changed(shelf: Shelf, change) -> None:
    """Change the signature that was made as it should be."""
    shelf.sign()
    document = json.loads(shelf.signature().read_bytes())
    change(document)
    shelf.signature().write_text(json.dumps(document))


def with_statement(document, change) -> None:
    envelope = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()


def unsigned(shelf):
    return [f"signatures/{shelf.digest[7:]}/m@v2.json", "found no such file: it is not signed"]


def another_key(shelf):
    shelf.sign(shelf.other)
    return ["by key ", "as artifact.signed_by of m asks; found one by "]


def another_key_under_the_name_of_the_first(shelf):
    shelf.sign()
    hint = json.loads(shelf.signature().read_bytes())["verificationMaterial"]
    shelf.sign(shelf.other)
    document = json.loads(shelf.signature().read_bytes()) | {"verificationMaterial": hint}
    shelf.signature().write_text(json.dumps(document))
    return ["statement or signature was changed"]


def another_statement(shelf):
    def name_other(statement):
        statement["predicate"]["resources"][0]["name"] = "model/other"

    changed(shelf, lambda each: with_statement(each, name_other))
    return ["statement or signature was changed"]


def another_signature(shelf):
    def flip(document):
        (first,) = document["dsseEnvelope"]["signatures"]
        first["sig"] = base64.b64encode(b"\0" * 70).decode()

    changed(shelf, flip)
    return ["statement or signature was changed"]


def the_signature_of_another_version(shelf):
    shelf.sign(version="v1")
    shelf.signature("v1").rename(shelf.signature("v2"))
    return ["expected a signature for m@v2; found one for m@v1"]


def the_signature_of_another_artifact(shelf):
    other = shelf.put("other", {**FILES, "model/model.txt": b"another\n"})
    shelf.sign(made="other")
    shelf.signature().parent.mkdir()
    shelf.signature(digest=other).rename(shelf.signature())
    return [f"expected a signature of artifact {shelf.digest}; found one of {other}"]


def no_signature_at_all(shelf):
    changed(shelf, lambda document: document.clear())
    return ["expected a signature of OpenSSF Model Signing 1.0; found that it cannot be read"]


def two_signatures(shelf):
    def twice(document):
        document["dsseEnvelope"]["signatures"] *= 2

    changed(shelf, twice)
    return ["found that it cannot be read"]


def another_file(shelf):
    shelf.sign()
    shelf.kept("model/model.txt").write_bytes(b"another tree\n")
    return ["model/model.txt is another one: expected SHA-256 ", ", found "]


def a_missing_file(shelf):
    shelf.sign()
    shelf.kept("serving.json").unlink()
    return ["serving.json is missing: expected SHA-256 ", "found no such file"]


def an_extra_file(shelf):
    shelf.sign()
    shelf.kept("model/sitecustomize.py").write_bytes(b"import os\n")
    return ["model/sitecustomize.py is extra: expected no such file, found SHA-256 "]


ATTACKS = (
    unsigned, another_key, another_key_under_the_name_of_the_first, another_statement,
    another_signature, the_signature_of_another_version, the_signature_of_another_artifact,
    no_signature_at_all, two_signatures, another_file, a_missing_file, an_extra_file,
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.__name__)
def test_nothing_else_is_handed_out_and_the_refusal_says_what_was_found(shelf, attack):
    said = attack(shelf)

    with pytest.raises(Refused) as refused:
        shelf.fetch()

    assert all(each in refused.value.message for each in said), refused.value.message
    assert refused.value.hint
    assert "signature sign m v2" in refused.value.hint or "restore it" in refused.value.hint
    assert not (shelf.root / "fetched").exists()


@pytest.mark.parametrize("attack", [another_key, an_extra_file], ids=lambda each: each.__name__)
def test_the_container_that_fetches_for_a_server_refuses_the_same(shelf, attack):
    attack(shelf)
    pod = [f"--artifact={shelf.digest}", f"--folder={shelf.root / 'fetched'}"]
    asked = ["--model=m", "--version=v2", f"--signed-by={shelf.key.public}"]
    store = f"--store={shelf.root / 'store'}"

    found = CliRunner().invoke(fetch_model, [*pod, *asked, store])

    assert isinstance(found.exception, Refused)
    assert found.exception.exit_code == 3
    assert not (shelf.root / "fetched").exists()


def test_a_server_of_this_machine_is_not_started_on_an_unsigned_artifact(shelf, tmp_path):
    yard = Yard(tmp_path / "yard")
    folder, digest = shared_artifact()
    shelf.store.put_model(folder, digest)
    fetch = partial(fetch_artifact, shelf.store)
    cluster = LocalCluster(yard.root, Repository(), fetch, yard.clock, patience_seconds=0)
    asking = replace(MODEL, artifact=replace(MODEL.artifact, signed_by=(shelf.key.public,)))

    with pytest.raises(Refused, match="it is not signed"):
        cluster.sync(yard.release("v1", DEV), model=replace(asking, name="late"), environment=DEV)

    assert not list((yard.root / ".modelyard/cluster").rglob("*.claim"))
    assert not (yard.root / ".modelyard/cluster/artifacts").exists()


def test_a_server_of_this_machine_starts_again_only_by_the_keys_of_now(shelf, tmp_path):
    clock, fetch = FixedClock(), partial(fetch_artifact, shelf.store)
    cluster = LocalCluster(tmp_path / "yard", Repository(), fetch, clock, patience_seconds=0)
    release = Release(
        model="m", environment=DEV.name, version="v2", artifact=shelf.digest, server_image="i",
        renderer=1, manifests="",
    )  # fmt: skip
    for key in (shelf.key, shelf.other):
        policy = replace(MODEL.artifact, signed_by=(key.public,))
        asking = replace(MODEL, name="m", artifact=policy)

        with pytest.raises(Refused, match=f"by key {key_hint(key.public)[:12]}"):
            cluster.sync(release, model=asking, environment=DEV)

        clock.passes(120)


def test_every_server_of_a_state_has_the_keys_of_now():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    one = Server(
        release="r", version="v1", artifact="a", trusted_types=(), formats=(), port=1, since=at,
        tried=at, signed_by=("removed",),
    )  # fmt: skip
    state = State(model="m", environment="e", stable=one, candidate=one, previous=one)

    now = apply_keys(state, ("listed",))

    found = [each.signed_by for each in (now.stable, now.candidate, now.previous) if each]
    assert found == [("listed",)] * 3
    assert apply_keys(State(model="m", environment="e"), ("listed",)).servers == ()


def test_a_key_is_not_used_where_code_of_a_served_model_could_read_it(shelf, monkeypatch):
    code = ArtifactPolicy(formats=("skops", "pickle"), trusted=Trusted(reason="ours"))
    other = replace(MODEL, name="other", artifact=code)
    here, cluster = Repository(), Repository(orchestrator=OrchestratorKind.ARGO)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    refuse_key_beside_code(here, [MODEL, other])
    monkeypatch.setenv(SIGNING_KEY, str(shelf.root / "key.pem"))

    with pytest.raises(CannotAnswer, match="of other accepts pickle") as refused:
        refuse_key_beside_code(here, [MODEL, other])

    assert "signature sign" in (refused.value.hint or "")
    refuse_key_beside_code(here, [MODEL, replace(other, artifact=replace(code, trusted=None))])
    refuse_key_beside_code(cluster, [MODEL, other])


def test_a_copy_that_somebody_changed_is_replaced_by_what_was_signed(shelf):
    shelf.sign()
    (shelf.fetch() / "model/model.txt").write_bytes(b"another\n")

    assert (shelf.fetch() / "model/model.txt").read_bytes() == b"tree\n"


def refusal(path: Path, root: Path, asked: Asked | None, monkeypatch) -> YardError:
    monkeypatch.setenv(SIGNING_KEY, str(path))
    with pytest.raises(CannotAnswer) as refused:
        find_key(root, asked)
    return refused.value


def test_a_key_that_git_could_take_is_not_used(shelf, tmp_path, monkeypatch):
    said = refusal(tmp_path / "key.pem", tmp_path, None, monkeypatch)

    assert "is in the checkout" in said.message


def test_a_key_that_all_users_read_is_not_used(shelf, tmp_path, monkeypatch):
    (tmp_path / "key.pem").chmod(0o644)

    said = refusal(tmp_path / "key.pem", tmp_path / "yard", None, monkeypatch)

    assert "its mode is 0644" in said.message
    assert "chmod 600" in (said.hint or "")


def test_training_stops_at_once_without_the_key_that_is_asked_for(shelf, tmp_path, monkeypatch):
    wrong = refusal(tmp_path / "other.pem", tmp_path / "yard", shelf.asked, monkeypatch)
    missing = refusal(tmp_path / "gone.pem", tmp_path / "yard", shelf.asked, monkeypatch)

    assert "artifact.signed_by of m asks for key" in wrong.message
    assert "gone.pem: cannot be read: No such file" in missing.message
    monkeypatch.delenv(SIGNING_KEY)
    with pytest.raises(CannotAnswer, match=f"{SIGNING_KEY} is not set"):
        find_key(tmp_path / "yard", shelf.asked)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n"])
def test_what_is_no_key_is_named_and_never_quoted(tmp_path, content):
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    file.chmod(0o600)

    with pytest.raises(CannotAnswer, match="no private key in PEM") as refused:
        read_key(file)

    assert "c2VjcmV0" not in refused.value.message


def test_a_key_never_shows_itself(shelf):
    secret = (shelf.root / "key.pem").read_text().splitlines()[1]

    assert secret not in repr(shelf.key)
    assert secret[:20] not in str(vars(shelf.key))


def test_a_key_where_a_trainer_may_read_is_refused_before_it_trains(shelf, tmp_path, monkeypatch):
    inputs = tmp_path / "inputs"
    (inputs / "keys").mkdir(parents=True)
    hidden = inputs / "keys" / "key.pem"
    write_key(hidden)
    (tmp_path / "link.pem").symlink_to(hidden)
    reach = Reach(readable=(str(inputs),), writable=())
    for path in (hidden, tmp_path / "link.pem"):
        monkeypatch.setenv(SIGNING_KEY, str(path))
        with pytest.raises(CannotAnswer, match="which a trainer may read"):
            refuse_reachable_key([reach], tmp_path / f"means-{path.name}")
    monkeypatch.setenv(SIGNING_KEY, str(tmp_path / "key.pem"))

    refuse_reachable_key([reach], tmp_path / "means")


def test_a_machine_that_closes_nothing_in_signs_nothing(shelf, tmp_path, monkeypatch):
    monkeypatch.setenv(SIGNING_KEY, str(tmp_path / "key.pem"))

    with pytest.raises(CannotAnswer, match="nothing on this machine closes a trainer in"):
        refuse_reachable_key([], tmp_path / "means", ways=())


def test_a_new_key_is_for_its_owner_alone_and_replaces_none(tmp_path):
    file = tmp_path / "new.pem"
    first = CliRunner().invoke(signature, ["new-key", str(file)])
    second = CliRunner().invoke(signature, ["new-key", str(file)])

    assert read_key(file).public == first.stdout.strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert isinstance(second.exception, Refused)


@pytest.mark.parametrize("name", ["key.pem", "new/folder/key.pem"])
def test_a_new_key_is_not_written_into_a_checkout(name):
    file = Path(__file__).parent / name

    found = CliRunner().invoke(signature, ["new-key", str(file)])

    assert isinstance(found.exception, Refused)
    assert not file.exists()


def test_the_folders_of_a_first_key_are_made_for_its_owner_alone(tmp_path):
    file = tmp_path / ".config" / "modelyard" / "signing.pem"

    found = CliRunner().invoke(signature, ["new-key", str(file)])

    assert read_key(file).public == found.stdout.strip()
    assert [each.stat().st_mode & 0o777 for each in list(file.parents)[:2]] == [0o700, 0o700]


def test_a_key_that_cannot_be_written_says_where_to_write_one(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    found = CliRunner().invoke(signature, ["new-key", str(tmp_path / "file" / "key.pem")])

    assert isinstance(found.exception, CannotAnswer)
    assert "cannot be written: " in found.exception.message
    assert "signing.pem" in found.exception.hint


def test_a_path_that_leads_to_no_key_is_not_the_absence_of_one(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    for name in ("mistyped.pem", "no/folder.pem", "file/key.pem", "."):
        said = refusal(tmp_path / name, tmp_path / "yard", None, monkeypatch)
        assert str(tmp_path / name) in said.message
        assert said.hint
    monkeypatch.setenv(SIGNING_KEY, POD_KEY)
    assert find_key(tmp_path / "yard", None) is None


def test_a_key_in_a_folder_of_somebody_else_is_an_answer_and_no_crash(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "open", refuse)

    said = refusal(tmp_path / "key.pem", tmp_path / "yard", None, monkeypatch)

    assert "cannot be read: Permission denied" in said.message
