"""The few expressions of Argo Workflows that the local orchestrator understands."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from modelyard.errors import Refused

Value = str | int | float | bool
Resolve = Callable[[str], Value]

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<operator>==|!=|&&|\|\||!|\(|\))
    |(?P<quoted>"[^"]*"|'[^']*')
    |(?P<number>-?\d+(?:\.\d+)?)(?![\w.])
    |(?P<name>[A-Za-z_][\w.-]*)
    )""",
    re.VERBOSE,
)
_WORDS = {"true": True, "false": False}
_DEPENDENCY = re.compile(r"(?P<task>[A-Za-z0-9][\w-]*)(?:\.(?P<result>[A-Z]\w*))?")
_RESULTS = frozenset({"Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned"})


def when(text: str) -> bool:
    """Whether a task's `when`, its tags already replaced, lets it run.

    Words without quotes are text, as Argo has it; numbers compare as numbers.

    Raises:
        Refused: The text is more than ==, !=, &&, ||, ! and parentheses.
    """

    def resolve(name: str) -> Value:
        if not name.isidentifier():
            raise Refused(f"{name} in {text!r} must be quoted: Argo takes it for a calculation")
        return name

    return _evaluated(text, resolve)


def retries(text: str, *, exit_code: int, status: str) -> bool:
    """Whether a retryStrategy's `expression` wants another try.

    Args:
        text: Such as `asInt(lastRetry.exitCode) == 1`.
        exit_code: Of the try before; -1 when it has none.
        status: `Failed` or `Error`.

    Raises:
        Refused: The text asks for anything but the exit code and the status.
    """
    known: dict[str, Value] = {
        "lastRetry.exitCode": str(exit_code),
        "lastRetry.status": status,
        "asInt.lastRetry.exitCode": exit_code,
    }

    def resolve(name: str) -> Value:
        if name not in known:
            raise Refused(f"the local orchestrator does not know {name} in {text!r}")
        return known[name]

    return _evaluated(_with_calls(text), resolve)


def dependencies(text: str) -> tuple[str, ...]:
    """The tasks that a `depends` names, in order."""
    return tuple(dict.fromkeys(match["task"] for match in _terms(text)))


def named_results(text: str, task: str) -> frozenset[str]:
    """The results of `task` that the `depends` names."""
    return frozenset(
        match["result"] for match in _terms(text) if match["task"] == task and match["result"]
    )


def depends(text: str, holds: Callable[[str, str], bool]) -> bool:
    """Whether a task's `depends` is met.

    Args:
        text: Such as `a && (b.Succeeded || b.Failed)`.
        holds: Whether a task has this result; an empty result asks whether others may go on.
    """

    def resolve(name: str) -> Value:
        task, _, result = name.partition(".")
        return holds(task, result)

    return _evaluated(text, resolve)


def _terms(text: str) -> list[re.Match[str]]:
    matches = list(_DEPENDENCY.finditer(text))
    for match in matches:
        if match["result"] and match["result"] not in _RESULTS:
            raise Refused(f"the local orchestrator does not know {match[0]} in {text!r}")
    return matches


def _with_calls(text: str) -> str:
    """Names cannot hold parentheses, so the one known call becomes a quoted name."""
    return re.sub(r"asInt\(\s*(lastRetry\.exitCode)\s*\)", r"asInt.\1", text)


def _evaluated(text: str, resolve: Resolve) -> bool:
    value = _Parser(text, resolve).whole()
    if not isinstance(value, bool):
        raise Refused(f"{text!r} is {value!r}, not true or false")
    return value


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


class _Parser:
    """Recursive descent: or, and, not, comparison, operand."""

    def __init__(self, text: str, resolve: Resolve) -> None:
        self.text = text
        self.resolve = resolve
        self.tokens = _tokens(text)

    def whole(self) -> Value:
        value = self._either()
        if self.tokens:
            raise self._refusal(self.tokens[0].text)
        return value

    def _either(self) -> Value:
        value = self._both()
        while self._takes("||"):
            other = self._both()
            value = self._truth(value) | self._truth(other)
        return value

    def _both(self) -> Value:
        value = self._negated()
        while self._takes("&&"):
            other = self._negated()
            value = self._truth(value) & self._truth(other)
        return value

    def _negated(self) -> Value:
        if self._takes("!"):
            return not self._truth(self._negated())
        return self._compared()

    def _compared(self) -> Value:
        value = self._operand()
        for operator in ("==", "!="):
            if self._takes(operator):
                other = self._operand()
                # 1 and true, or 1 and "1", are different things to Argo.
                same = _kind(value) == _kind(other) and value == other
                return same is (operator == "==")
        return value

    def _operand(self) -> Value:
        if self._takes("("):
            value = self._either()
            if not self._takes(")"):
                raise self._refusal("a missing )")
            return value
        if not self.tokens or self.tokens[0].kind == "operator":
            raise self._refusal(self.tokens[0].text if self.tokens else "its end")
        token = self.tokens.pop(0)
        if token.kind == "quoted":
            return token.text[1:-1]
        if token.kind == "number":
            return float(token.text)
        return _WORDS[token.text] if token.text in _WORDS else self.resolve(token.text)

    def _takes(self, operator: str) -> bool:
        if self.tokens and self.tokens[0] == _Token("operator", operator):
            del self.tokens[0]
            return True
        return False

    def _truth(self, value: Value) -> bool:
        if not isinstance(value, bool):
            raise self._refusal(repr(value))
        return value

    def _refusal(self, what: str) -> Refused:
        return Refused(f"the local orchestrator cannot evaluate {self.text!r}: it stops at {what}")


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            rest = text[position:].strip()
            raise Refused(f"the local orchestrator cannot evaluate {text!r}: it stops at {rest}")
        tokens.append(_Token(match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def _kind(value: Value) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
