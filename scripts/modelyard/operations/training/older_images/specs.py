"""In a pod: leaves the specs as the image of its step can read them, which may be an older one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs import schemas
from modelyard.adapters.specs.documents import load_yaml
from modelyard.adapters.specs.older_readers import CHAMPION, LEFT_OUT, make_readable
from modelyard.adapters.specs.reader import list_places
from modelyard.domain.specs.paths import SETTINGS, held_out_file, parse_spec_path, version_file
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.training.evaluate import find_champion
from modelyard.operations.training.job import CRASH, Job
from modelyard.yaml_writer import yaml_bytes

logger = logging.getLogger(__name__)

READABLE = "refs/modelyard-step/specs"
"""The ref in a pod's clone of the specs that the step's image can read; `git clone` copies none."""

# A record names the digest of a version's bytes, so nothing is left out of them.
_PINNED = frozenset({"HeldOut", "ModelVersion"})

_Rules = Mapping[str, dict[str, Any]]


def find_readable(root: Path, submitted: str) -> str:
    """The commit that `leave_readable` left in this clone for one of the main branch, or nothing.

    One that was left for another commit, as in a checkout where somebody ran `step specs`, has the
    rules of another day.
    """
    git, words = Git(root), ("rev-parse", "--verify", "--quiet", READABLE)
    found = git.run(*words, accept=(0, 1)).stdout.decode().strip()
    is_its = found and submitted in (found, *git.parents(found))
    return found if is_its else ""


def leave_readable(job: Job, step: str, folder: Path) -> None:
    """Leave a commit as `READABLE`: the job's own, or one without what the image does not know.

    Args:
        job: The job; of models, only the specs of its own are made readable.
        step: The step whose image it is.
        folder: The schemas that the image has. Without any it reads the specs as they are.

    Raises:
        Refused: The image does not know what the step needs; nothing tries that again.
    """
    git, reader = Git(job.services.root), _OlderReader(job, step, _read_rules(folder))
    commit, settings = git.rev_parse(job.commit), job.services.root / SETTINGS
    if reader.rules:
        if changed := dict(reader.change_committed()):
            tree, (entry,) = git.write_tree(commit, changed), git.log_of([commit])
            words = f"As the image of step {step} can read it\n"
            commit = git.commit_tree(
                tree, parents=[commit], message=words, author="modelyard", at=entry.at
            )
        # A step starts by the settings of the working tree, which is that of a later commit.
        if (new := reader.change(SETTINGS, settings.read_bytes())) is not None:
            settings.write_bytes(new)
    git.run("update-ref", READABLE, commit)


def _read_rules(folder: Path) -> _Rules:
    """The image's schemas that differ from this platform's, by kind."""
    found = {}
    for kind, name in schemas.FILES.items():
        file = folder / f"{name}.schema.json"
        if file.is_file() and (rules := _read_json(file)) != schemas.schema_of(kind):
            found[kind] = rules
    return found


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:  # a full disk, and no fault of the version
        raise CannotAnswer(f"{file}: what the image left is no JSON: {error}") from error


@dataclass(frozen=True)
class _OlderReader:
    """A step's image that has other schemas.

    Args:
        job: The job.
        step: The step.
        rules: The image's schemas that differ, by kind.
    """

    job: Job
    step: str
    rules: _Rules

    def change_committed(self) -> Iterator[tuple[str, bytes]]:
        """The files of the commit that it cannot read as they are, and what it can read instead."""
        root, model = self.job.services.root, self.job.model_name
        tree = GitTree(Git(root), self.job.commit)
        tree = tree.part(list_places(tree, [model]))
        files = [path for path in tree.paths() if self._kind_of(path) in self.rules]
        for path, text in tree.read_many(files).items():
            if (new := self.change(path, text)) is not None:
                yield path, new

    def change(self, path: str, text: bytes) -> bytes | None:
        """What it can read instead of a file; None for the file itself.

        Raises:
            Refused: It cannot read what the step needs.
        """
        kind = self._kind_of(path)
        loaded = load_yaml(text, name=path)
        # What this platform refuses stays as it is, for the image to refuse it.
        if kind not in self.rules or loaded.problems:
            return None
        if not schemas.is_valid(kind, loaded.document):
            return None
        free = CHAMPION if (kind, self.step) == ("Model", "champion") else LEFT_OUT.get(kind, ())
        readable = make_readable(kind, loaded.document, self.rules[kind], left_out=free)
        if readable.refused is not None:
            if kind in _PINNED and path not in self._needed_files():
                return None
            raise self._refuse(f"{path}: {readable.refused}")
        if not readable.left_out:
            return None
        places = ", ".join(readable.left_out)
        logger.warning("step %s: its image does not know %s of %s", self.step, places, path)
        return yaml_bytes([readable.document], sort_keys=False)

    def _kind_of(self, path: str) -> str:
        return "Repository" if path == SETTINGS else (parse_spec_path(path) or ("", ()))[0]

    def _needed_files(self) -> frozenset[str]:
        job, champion = self.job, find_champion(self.job)
        versions = [job.version, *([champion.version] if champion else [])]
        return frozenset(
            (
                *(version_file(job.model_name, each) for each in versions),
                *(held_out_file(job.model_name, each) for each in job.spec.held_out),
            )
        )

    def _refuse(self, what: str) -> Refused:
        job = self.job
        reason = f"the image of step {self.step} is older than this and cannot do it: {what}"
        job.put_document(CRASH, {"step": self.step, "reason": reason})
        image = (
            "promote a version with a newer image, so that it is the champion"
            if self.step == "champion"
            else "add a version that pins a newer image"
        )
        return Refused(
            f"{job.model_name} {job.version}: {reason}",
            hint=f"{image}; or take the key back, and run `modelyard retrain {job.model_name} "
            f"{job.version}`",
        )
