"""What the local orchestrator runs: a plan of steps, their texts still holding their tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelyard.adapters.workflows import expressions as argo_expressions
from modelyard.errors import Refused

_TAG = re.compile(r"\{\{([^{}]*)\}\}")


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When a step is tried again.

    Args:
        limit: Further tries; None for as many as it takes.
        on: The phases that count, `Failed` and `Error`.
        expression: What must hold besides, or None.
        wait_seconds: Before the second try.
        factor: How much longer before each further one.
        longest_wait_seconds: What the wait never exceeds, or None.
    """

    limit: int | None = 0
    on: frozenset[str] = frozenset()
    expression: str | None = None
    wait_seconds: float = 0.0
    factor: int = 1
    longest_wait_seconds: float | None = None

    def wanted(self, *, tries: int, phase: str, exit_code: int) -> bool:
        """Whether it is tried again after this many tries, the last of which ended so."""
        if phase not in self.on or (self.limit is not None and tries > self.limit):
            return False
        return self.expression is None or argo_expressions.retries(
            self.expression, exit_code=exit_code, status=phase
        )

    def wait(self, *, tries: int) -> float:
        """Seconds before the next try."""
        wait = self.wait_seconds * float(self.factor) ** (tries - 1)
        return wait if self.longest_wait_seconds is None else min(wait, self.longest_wait_seconds)


@dataclass(frozen=True, kw_only=True)
class Output:
    """A parameter that a step leaves behind as a file.

    Args:
        path: Relative to the step's work folder.
        default: Its value when there is no file; None makes a missing file an error.
    """

    path: str
    default: str | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One task with its template. Texts still hold their tags.

    Args:
        name: The task's name.
        command: Program and arguments.
        environment: Variables of its own.
        inputs: Its input parameters.
        outputs: Its output parameters.
        depends: What must have happened before, as Argo's `depends` says it; empty for nothing.
        when: Whether it then runs, or None.
        continues_on: Its phases that do not stop others.
        retry: When it is tried again.
        deadline_seconds: How long one try may take, or None.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    depends: str = ""
    when: str | None = None
    continues_on: frozenset[str] = frozenset()
    retry: Retry = field(default_factory=Retry)
    deadline_seconds: float | None = None

    @property
    def before(self) -> tuple[str, ...]:
        """The tasks it depends on."""
        return argo_expressions.dependencies(self.depends)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A workflow, ready to be walked.

    Args:
        steps: In an order in which each comes after those it depends on.
        arguments: Its parameters' values.
        fails_fast: Whether a failure keeps further steps from starting.
        deadline_seconds: How long the whole may take, or None.
        at_once: Most steps that run at the same time.
    """

    steps: tuple[Step, ...]
    arguments: Mapping[str, str]
    fails_fast: bool = True
    deadline_seconds: float | None = None
    at_once: int = 2


def filled(text: str, scope: Mapping[str, str]) -> str:
    """The text with every tag replaced; `Refused` when a value is not there."""

    def value(tag: re.Match[str]) -> str:
        name = tag[1].strip()
        if name not in scope:
            raise Refused(f"there is no value for {{{{{name}}}}}")
        return scope[name]

    return _TAG.sub(value, text)


def refuse_unknown_tags(plan: Plan) -> None:
    """Refuse a tag that no value will be there for when its step's turn comes."""
    everywhere = {"workflow.name", *(f"workflow.parameters.{name}" for name in plan.arguments)}
    for step in plan.steps:
        inside = everywhere | {f"inputs.parameters.{name}" for name in step.inputs}
        outside = everywhere | _left_by(_above(plan, step))
        unknown = _tags(*step.command, *step.environment.values()) - inside
        unknown |= _tags(*step.inputs.values(), step.when or "") - outside
        if unknown:
            tag = f"{{{{{min(unknown)}}}}}"
            raise Refused(f"the local orchestrator does not run {tag} in {step.name}")


def _above(plan: Plan, step: Step) -> Iterable[Step]:
    by_name = {each.name: each for each in plan.steps}
    found: dict[str, Step] = {}
    wanted = list(step.before)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = by_name[name]
            wanted += found[name].before
    return found.values()


def _left_by(steps: Iterable[Step]) -> set[str]:
    tags = set()
    for step in steps:
        tags |= {f"tasks.{step.name}.exitCode", f"tasks.{step.name}.status"}
        tags |= {f"tasks.{step.name}.outputs.parameters.{name}" for name in step.outputs}
    return tags


def _tags(*texts: str) -> set[str]:
    return {tag.strip() for text in texts for tag in _TAG.findall(text)}
