from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from git_commits import write_commit
from modelyard.adapters.forge.makers import find_version_makers
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.specs.version import Code
from operations.yard import AT, MODEL, spec, spec_file

TRAINER = f"models/{MODEL}/trainer/train.py"


@pytest.fixture
def git(tmp_path):
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    return Git(tmp_path)


def makers(*where):
    return {str(person): did for person, did in find_version_makers(*where).items()}


def committed(git, parent, documents, author, message="x", *, parents=None):
    return write_commit(
        git,
        parent,
        documents,
        parents=parents if parents is not None else [parent] if parent else [],
        message=message,
        author=author,
        at=AT,
    )


def merged(git, main, documents, *, author, by, asked=None):
    """A branch of one commit, merged as the forge does it."""
    head = committed(git, main, documents, author)
    trailers = f"Modelyard-Pull: 1\nModelyard-Head: {head}"
    trailers += f"\nModelyard-Requested-By: {asked}" if asked else ""
    message = f"Merge\n\n{trailers}\n"
    return committed(git, main, documents, by, message, parents=[main, head])


def version(git, tree_of):
    """v2, which pins the trainer of a commit."""
    tree = git.tree_hash(tree_of, f"models/{MODEL}/trainer")
    return {spec_file("v2"): dump_spec("ModelVersion", replace(spec("v2"), code=Code(tree=tree)))}


def test_the_trainer_s_makers_are_those_of_the_content_that_is_pinned(git):
    start = committed(git, None, {TRAINER: b"1\n"}, "Old")
    pinned = merged(git, start, {TRAINER: b"2\n"}, author="Tess", by="Tim", asked="Tom")
    main = merged(git, pinned, version(git, pinned), author="Vera", by="Vic")
    later = merged(git, main, {TRAINER: b"3\n"}, author="Late", by="Later")

    assert makers(git, later, MODEL, "v2") == {
        "Vera": "wrote v2",
        "Vic": "merged v2",
        "Tess": "wrote v2",
        "Tim": "merged v2",
        "Tom": "asked for v2",
    }


def test_a_trainer_pushed_to_main_without_a_pull_request_has_its_author(git):
    start = committed(git, None, {"README.md": b"x\n"}, "Old")
    pinned = committed(git, start, {TRAINER: b"2\n"}, "Tess")
    main = committed(git, pinned, version(git, pinned), "Vera")

    made_by = makers(git, main, MODEL, "v2")

    assert made_by == {"Vera": "wrote v2", "Tess": "wrote v2"}


def test_a_trainer_of_the_first_commit_has_its_author(git):
    start = committed(git, None, {TRAINER: b"1\n"}, "Old")
    main = committed(git, start, version(git, start), "Vera")

    assert makers(git, main, MODEL, "v2") == {"Vera": "wrote v2", "Old": "wrote v2"}


def test_a_version_that_is_not_there_or_not_valid_has_the_makers_of_its_file(git):
    start = committed(git, None, {spec_file("v3"): b"{\n"}, "Eve")

    assert makers(git, start, MODEL, "v3") == {"Eve": "wrote v3"}
    assert makers(git, start, MODEL, "v2") == {}
