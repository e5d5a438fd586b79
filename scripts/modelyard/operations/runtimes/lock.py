"""Writes locks of runtimes: a trainer's wishes together with what scoring and serving need."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from modelyard.adapters.git.trees import Tree, WorkingTree
from modelyard.adapters.replaced_file import replace_file
from modelyard.adapters.runtimes.run_uv import run_uv
from modelyard.domain.specs.paths import PLATFORM_LOCK, model_file, trainer_lock, trainer_wishes
from modelyard.errors import CannotAnswer, Refused
from modelyard.runtime_measure import normalized_name, requirement_lines

SERVING, PLATFORM_MODELS, GRPC = "serving", "sklearn", "grpc"
"""The extras of modelyard: what every runtime needs, what the platform's own has besides, and what
one needs whose model is served over gRPC."""

_GRPC_PACKAGE = "grpcio"

PYTHON = "3.11"
"""The oldest interpreter that a lock is good for."""

_CONFLICT = "No solution found"
_OPTIONS = ("--universal", "--python-version", PYTHON, "--generate-hashes", "--no-emit-index-url",
            "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet")  # fmt: skip


def lock_model(root: Path, model: str, *, upgrade: bool = False, has_grpc: bool = False) -> str:
    """Write the lock of a model's own runtime and return its path.

    Pins that still fit stay as they are, unless `upgrade`.

    Args:
        root: The checkout's root.
        model: The model's name.
        upgrade: Whether to take the newest versions.
        has_grpc: Whether the model is served over gRPC, too. One without wishes has the platform's
            runtime, and gets that with gRPC in it.

    Raises:
        CannotAnswer: There are no wishes, or uv cannot reach its index.
        Refused: The wishes do not go together with each other, or with what serving needs.
    """
    wishes, lock = root / trainer_wishes(model), root / trainer_lock(model)
    extras = (SERVING, GRPC) if has_grpc else (SERVING,)
    if has_grpc and not wishes.exists():
        wanted = extra_requirements(PLATFORM_MODELS)
        return _compile(lock, f"modelyard[{PLATFORM_MODELS}]", wanted, extras, upgrade=upgrade)
    try:
        text = wishes.read_text(encoding="utf-8")
    except OSError as error:
        raise CannotAnswer(
            f"{trainer_wishes(model)}: cannot be read: {error.strerror}",
            hint="write the libraries of the trainer there, one a line, such as lightgbm>=4.6,<5; "
            f"without that file the model has the platform's {PLATFORM_LOCK}",
        ) from error
    return _compile(lock, trainer_wishes(model), text.splitlines(), extras, upgrade=upgrade)


def refuse_unlocked(root: Path, model: str, *, has_grpc: bool = False) -> None:
    """Refuse wishes that are not in the model's lock: it would be trained or served without them.

    Raises:
        Refused: The lock is missing, or has another version than a wish admits, or no gRPC.
    """
    if has_grpc and (lacking := lacking_grpc(WorkingTree(root), model)):
        raise Refused(
            f"{model_file(model)}: server.grpc asks for gRPC, and {lacking} has no {_GRPC_PACKAGE}",
            hint=f"modelyard runtime lock {model}",
        )
    wishes, lock = root / trainer_wishes(model), root / trainer_lock(model)
    wanted = wishes.read_text(encoding="utf-8") if wishes.is_file() else ""
    locked = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    found = {normalized_name(pin.name): pin for pin in _applied(locked)}
    for wish in _applied(wanted):
        pin = found.get(normalized_name(wish.name))
        if pin is None or not _admits(wish, pin):
            raise Refused(
                f"{trainer_wishes(model)} asks for {wish}, {trainer_lock(model)} has "
                f"{pin or 'none'}",
                hint=f"modelyard runtime lock {model}",
            )


def lacking_grpc(tree: Tree, model: str) -> str | None:
    """The lock of a model's next version if it has no gRPC; None if it has."""
    own = trainer_lock(model)
    path = own if tree.exists(own) else PLATFORM_LOCK
    text = tree.read(path).decode("utf-8", "replace") if tree.exists(path) else ""
    # Universal locks name interpreters, too: for which of them it is does not matter here.
    names = {normalized_name(line.partition("==")[0]) for line in requirement_lines(text)}
    return None if _GRPC_PACKAGE in names else path


def _admits(wish: Requirement, pin: Requirement) -> bool:
    # Of a file at an address the version is not known.
    if wish.url or pin.url:
        return True
    return wish.specifier.contains(str(pin.specifier).lstrip("="), prereleases=True)


def _applied(text: str) -> Iterator[Requirement]:
    """The requirements of a file that apply here; what uv reads besides is left out."""
    for line in requirement_lines(text):
        try:
            found = Requirement(line)
        except InvalidRequirement:  # such as the path of a wheel
            continue
        if found.marker is None or found.marker.evaluate():
            yield found


def lock_platform(root: Path, *, upgrade: bool = False) -> str:
    """Write the lock of the runtime that models without one of their own have; as `lock_model`."""
    wishes = extra_requirements(PLATFORM_MODELS)
    return _compile(root / PLATFORM_LOCK, "pyproject.toml", wishes, (SERVING,), upgrade=upgrade)


def extra_requirements(extra: str) -> list[str]:
    """The requirements of one extra of modelyard: of its source, or as it is installed."""
    source = Path(__file__).resolve().parents[4] / "pyproject.toml"
    if source.is_file():
        project = tomllib.loads(source.read_text(encoding="utf-8"))["project"]
        return list(project["optional-dependencies"][extra])
    named = re.compile(rf"""extra == ['"]{extra}['"]""")
    found = [each for each in requires("modelyard") or () if named.search(each)]
    return [each.partition(";")[0].strip() for each in found]


def _compile(
    lock: Path, source: str, wishes: Sequence[str], extras: Sequence[str], *, upgrade: bool
) -> str:
    named = ", ".join(f"modelyard[{extra}]" for extra in extras)
    with tempfile.TemporaryDirectory(prefix="modelyard-lock-") as name:
        folder = Path(name)
        # In uv's messages these names say whose wish it is.
        mine = folder / "requirements.in"
        mine.write_text("\n".join(wishes) + "\n", encoding="utf-8")
        ours = [folder / f"modelyard[{extra}].in" for extra in extras]
        for path, extra in zip(ours, extras, strict=True):
            path.write_text("\n".join(extra_requirements(extra)) + "\n", encoding="utf-8")
        out = folder / "requirements.lock"
        if lock.exists():  # uv keeps the pins of the file that it writes
            out.write_bytes(lock.read_bytes())
        more = ("--upgrade",) if upgrade else ()
        try:
            run_uv(
                ("pip", "compile", *_OPTIONS, *more, *map(str, (mine, *ours)), "-o", str(out)),
                log=folder / "log",
                environment=os.environ,
            )
        except CannotAnswer as error:
            said = (folder / "log").read_text(encoding="utf-8", errors="replace")
            if _CONFLICT not in said:
                raise
            why = " ".join(said[said.index(_CONFLICT) :].split())
            raise Refused(
                f"{source}: these wishes cannot be locked together with what scoring and serving "
                f"need ({named}): {why}",
                hint=f"change {source}; what serving needs is in pyproject.toml, or in "
                "`python -m pip show modelyard`",
            ) from error
        replace_file(lock, out.read_bytes())
    return str(lock)
