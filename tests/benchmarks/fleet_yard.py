"""A yard with many copies of one model that runs everywhere, written by `git fast-import`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from built_once import share_what_is_built
from modelyard.adapters.cluster.local_site import found_site
from modelyard.adapters.forge.local.snapshot import StoredPull
from modelyard.adapters.git.names import message_of
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.specs.json_documents import dump_json
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import ENVIRONMENT, PULL, VERSION
from modelyard.domain.promotion.change import MODEL as MODEL_TRAILER
from modelyard.domain.promotion.facts import ModelFacts, ReleaseFacts
from modelyard.domain.promotion.pulls import PullRequest, PullState
from modelyard.domain.sites import Owner, Site
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.render.tree import rendered_tree, tree_digest
from modelyard.yaml_writer import yaml_bytes
from operations.yard import AT, BOT, MODEL, PATH, Yard, living_yard

ALONE = 1000
"""So many models may each have merges of their own that bring files.

Each such merge writes the lists of all models anew, so the bytes that git writes grow with models
times merges. In a larger fleet one merge brings the files of several models, and the others none.
"""

# The yard is thrown away. A `sync` for each of tens of thousands of refs would take most of the
# time, and to compress well most of the rest.
_FAST = ("-c", "core.fsync=none", "-c", "core.compression=1")

PULLS = "refs/modelyard/pulls"
"""Where the local forge has its pull requests."""

_WRITTEN = "refs/written"

_NAME = b"model-00000"


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What each copy is made of, with a name in it to be replaced."""

    release: Release
    pin: bytes
    manifests: Mapping[str, bytes]
    facts: ReleaseFacts


def name_of(number: int) -> str:
    """A copy's name, always as long."""
    return f"model-{number:05d}"


def fleet_yard(folder: Path, models: int) -> Yard:
    """A yard with so many models whose v2 is verified everywhere, each by pull requests.

    The checkout `clone` has the main branch in its working tree.
    """
    yard = living_yard(folder / "pattern")
    yard.record("v2", champion="v1")
    yard.put("v2", *(each.name for each in PATH))
    fleet = Yard(folder / "fleet")
    fleet.folder.mkdir()
    remote = fleet.folder / "remote.git"
    run_git(folder, "init", "-q", "--template=", "--bare", "-b", "main", str(remote))
    copies = [pattern_of(yard, each.name) for each in PATH]
    pulls: list[_Pull] = []
    marks = folder / "marks"
    names = import_commits(remote, _main_branch(yard, copies, models, pulls), marks)
    # Before the facts and the pull requests are there: it links the files of all objects.
    run_git(fleet.folder, "clone", "-q", str(remote), "clone")
    site = found_site((fleet.folder / "clone").absolute() / Repository().state)
    import_commits(remote, _facts(copies, models, site), marks)
    documents = import_commits(remote, _documents(pulls, names), marks)
    add_pulls(remote, {int(number): name for number, name in documents.items()})
    return fleet


def add_pulls(remote: Path, documents: Mapping[int, str]) -> None:
    """Give each pull request's document its ref, and take the ref away that wrote them."""
    run_git(remote, "update-ref", "-d", _WRITTEN)
    run_git(remote, "pack-refs", "--all")
    file = remote / "packed-refs"
    head, *rows = file.read_text().splitlines()
    rows += [f"{name} {PULLS}/{number}" for number, name in documents.items()]
    rows.sort(key=lambda row: row.split(" ", 1)[1])
    file.write_text("\n".join([head, *rows, ""]))


def run_git(where: Path, *words: str) -> None:
    """Run a git that does not wait for the disk."""
    subprocess.run(["git", *_FAST, *words], cwd=where, check=True)


def import_commits(remote: Path, stream: Iterable[bytes], marks: Path) -> dict[str, str]:
    """Write the commits of a stream; returns their names by mark."""
    words = ["git", *_FAST, "fast-import", "--quiet", f"--export-marks={marks}"]
    with subprocess.Popen(words, cwd=remote, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.writelines(stream)
    if process.returncode:
        raise SystemExit("git fast-import failed")
    return dict(line.removeprefix(":").split() for line in marks.read_text().splitlines())


@dataclass(frozen=True, kw_only=True)
class _Pull:
    """A merged pull request by the marks of its head and its merge."""

    head: int
    merge: int
    branch: str
    by: str


def _main_branch(
    yard: Yard, copies: Sequence[Pattern], models: int, pulls: list[_Pull]
) -> Iterator[bytes]:
    settings = Repository(artifacts="../store", tracking_uri="sqlite:///../registry.db")
    paths = yard.paths(f"models/{MODEL}/")
    start = {"modelyard.yaml": dump_spec("Repository", settings)}
    for each in PATH:
        start[f"environments/{each.name}/environment.yaml"] = dump_spec("Environment", each)
    own = {path.removeprefix(f"models/{MODEL}/"): yard.read(path) for path in paths}
    mark = 1
    yield commit_of("main", mark, start, "Start")
    size = max(1, round((models / ALONE) ** 2 / 2.5))
    for first in range(0, models, size):
        chunk = range(first, min(first + size, models))
        mark += 1
        specs = dict(file for number in chunk for file in _specs(own, number))
        yield commit_of("main", mark, specs, f"Add models from {first}")
        pulls.append(_Pull(head=mark, merge=mark, branch=f"add-{first}", by="Cleo"))
        for each in copies:
            files = dict(file for number in chunk for file in files_of(each, number))
            head = mark + 1
            for number in chunk:
                mark += 1
                environment, model = each.release.environment, name_of(number)
                branch = f"modelyard/promote/{environment}/{model}"
                pulls.append(_Pull(head=head, merge=mark, branch=branch, by=BOT))
                said = {MODEL_TRAILER: model, VERSION: "v2", ENVIRONMENT: environment}
                title = f"Merge pull request #{len(pulls)} from {branch}"
                message = message_of(title, {**said, PULL: str(len(pulls))})
                yield commit_of("main", mark, files, message)
                files = {}


def pattern_of(yard: Yard, environment: str, attempt: int = 1) -> Pattern:
    """What copies of the yard's model are made of in an environment, at some attempt."""
    catalog = read_specs(GitTree(yard.git, yard.main())).catalog
    known, model = catalog.releases[environment, MODEL], catalog.models[MODEL]
    name = _NAME.decode()
    release = replace(known, model=name, manifests="0" * 64, attempt=attempt)
    files = rendered_tree(
        release, model=replace(model, name=name), environment=catalog.environments[environment]
    )
    return Pattern(
        release=release,
        pin=dump_spec("Release", release),
        manifests=files,
        facts=yard.facts(environment),
    )


def _specs(own: Mapping[str, bytes], number: int) -> Iterator[tuple[str, bytes]]:
    """The specs of one copy; its records have the digests of its own versions."""
    files = {path: _of(_renamed(text), number) for path, text in own.items()}
    for path, text in files.items():
        found = text
        if path.startswith("records/"):
            version = path.replace("records/", "versions/")
            before, after = (sha256(each[version]).hexdigest() for each in (own, files))
            found = text.replace(_scalar(before), _scalar(after))
        yield f"models/{name_of(number)}/{path}", found


def files_of(pattern: Pattern, number: int) -> Iterator[tuple[str, bytes]]:
    """The pin and the manifests of one copy, as the renderer would write them."""
    name, environment = name_of(number), pattern.release.environment
    release = replace(pattern.release, model=name)
    before, after = pattern.release.identity, release.identity
    # Alone it has quotes where it reads as a number; after `--release=` it never has.
    alone = (b": " + _scalar(before), b": " + _scalar(after))
    files = {
        file: _of(content, number)
        .replace(b"=" + before.encode(), b"=" + after.encode())
        .replace(*alone)
        for file, content in pattern.manifests.items()
    }
    pin = _of(pattern.pin, number).replace(b"0" * 64, tree_digest(files).encode())
    yield f"environments/{environment}/releases/{name}.yaml", pin
    for file, content in files.items():
        yield f"environments/{environment}/manifests/{name}/{file}", content


def _scalar(text: str) -> bytes:
    return yaml_bytes([[text]], sort_keys=True).removeprefix(b"- ").removesuffix(b"\n")


def _renamed(text: bytes) -> bytes:
    for key in (b"model", b"name"):
        text = text.replace(b"\n%s: %s\n" % (key, MODEL.encode()), b"\n%s: %s\n" % (key, _NAME))
    return text


def _of(text: bytes, number: int) -> bytes:
    return text.replace(_NAME, name_of(number).encode())


def _facts(copies: Sequence[Pattern], models: int, site: Site) -> Iterator[bytes]:
    now = datetime.now(UTC)
    owner = Owner(site=site.id, name=site.name, since=now, seen_at=now)
    documents = {f"sites/{each.name}.json": dump_json(owner, Owner) for each in PATH}
    for number in range(models):
        name = name_of(number)
        documents[f"models/{name}.json"] = dump_json(ModelFacts(), ModelFacts)
        for each in copies:
            identity = replace(each.release, model=name).identity
            facts = replace(each.facts, release=identity, verified=(identity,))
            path = f"facts/{each.release.environment}/{name}.json"
            documents[path] = dump_json(facts, ReleaseFacts)
    yield commit_of("modelyard/state", 1, documents, "Facts")


def _documents(pulls: Sequence[_Pull], names: Mapping[str, str]) -> Iterator[bytes]:
    """What the local forge keeps of each pull request."""
    for number, each in enumerate(pulls, 1):
        pull = PullRequest(
            number=number,
            branch=each.branch,
            title=each.branch,
            body="",
            author=Person.named(each.by),
            base=names["1"],
            head=names[str(each.head)],
            state=PullState.MERGED,
            opened_at=AT,
            merged_as=names[str(each.merge)],
            closed_at=AT + timedelta(seconds=each.merge),
            closed_by=Person.named(BOT),
        )
        yield document_of(number, pull)


def document_of(mark: int, pull: PullRequest) -> bytes:
    """The commit of a pull request's document, for `import_commits`."""
    document = dump_json(StoredPull(pull=pull), StoredPull)
    # One ref for all: fast-import keeps what it knows of each, and looks through it.
    start = f"reset {_WRITTEN}\n\n".encode()
    return start + commit_of(_WRITTEN, mark, {"document.json": document}, "Merge")


def commit_of(ref: str, mark: int, documents: Mapping[str, bytes], message: str) -> bytes:
    """A commit as `git fast-import` reads it."""
    full = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
    at = int(AT.timestamp()) + mark
    head = f"commit {full}\nmark :{mark}\ncommitter {BOT} <bot@example.org> {at} +0000\n"
    rows = [f"{head}data {len(message)}\n{message}\n".encode()]
    for path, document in documents.items():
        rows.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(document), document))
    return b"".join([*rows, b"\n"])


if __name__ == "__main__":
    delete_what_is_shared = share_what_is_built()
    try:
        fleet_yard(Path(sys.argv[1]), int(sys.argv[2]))
    finally:
        delete_what_is_shared()
