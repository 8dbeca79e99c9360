"""Texts of annotations and labels with `{{ $labels.host }}` and `{{ $value | humanize }}` in them, as in Prometheus.

A small part of Go's templates, read once into a tree; nothing of a text is ever executed. What Prometheus knows besides
(`if`, `range`, `query`) is refused by name. Source: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from almenara.alarm.humanize import FUNCTIONS, as_text

MAX_TEXT = 5000
MAX_DEPTH = 20
#: What a text may use: the labels of the alarm's series, and the value. `$externalLabels` is there and empty.
_NAMES = {
    "$labels": "labels", ".Labels": "labels", "$value": "value", ".Value": "value",
    "$externalLabels": "none", ".ExternalLabels": "none", "$externalURL": "empty", ".ExternalURL": "empty",
}  # fmt: skip
_REFUSED = (
    "if", "else", "end", "range", "with", "define", "template", "block", "query", "first", "value", "label",
    "strvalue", "sortByLabel", "safeHtml", "tableLink", "graphLink", "externalURL", "pathPrefix", "args",
)  # fmt: skip
_ACTION = re.compile(
    r"""(?P<left>\{\{-\s|\{\{) (?P<inside>(?:"(?:\\.|[^"\\])*" | `[^`]*` | [^"`])*?) (?P<right>\s-\}\}|\}\})""",
    re.DOTALL | re.VERBOSE,
)
_TOKEN = re.compile(
    r"""\s+ | (?P<token> "(?:\\.|[^"\\\n])*" | `[^`]*` | \( | \) | \| | (?:\$|\.)?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)* |
    [+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)? | := | /\*.*?\*/ | . )""",
    re.VERBOSE | re.DOTALL,
)
_EXPECTED = "expected such as {{ $labels.host }}, {{ $value }} or {{ $value | humanize }}"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}

Given = Mapping[str, Any]
Part = Callable[[Given], Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A text that was read: plain parts, and parts to be worked out."""

    parts: tuple[str | Part, ...]

    @classmethod
    def of(cls, text: str) -> Template:
        """Read a text. Raises ValueError that says what is wrong with it."""
        if len(text) > MAX_TEXT:
            raise ValueError(f"is longer than {MAX_TEXT} characters")
        parts: list[str | Part] = []
        at, trims = 0, False
        for found in _ACTION.finditer(text):
            plain = text[at : found.start()]
            plain = plain.lstrip() if trims else plain
            parts.append(plain.rstrip() if "-" in found["left"] else plain)
            trims, at = "-" in found["right"], found.end()
            inside = found["inside"].strip()
            if not (inside.startswith("/*") and inside.endswith("*/")):
                parts.append(_Reader(inside).whole())
        rest = text[at:]
        if "{{" in rest:
            raise ValueError(f"{{{{ is not closed in {rest[rest.index('{{') :][:60]!r}; {_EXPECTED}")
        parts.append(rest.lstrip() if trims else rest)
        return cls(tuple(part for part in parts if part != ""))

    @property
    def is_plain(self) -> bool:
        """Is it the same text whatever is given?"""
        return all(isinstance(part, str) for part in self.parts)

    def render(self, labels: Mapping[str, str], value: float) -> str:
        """The text for a series with these labels. What cannot be worked out stands as `<error: ...>` in it."""
        given = {"labels": labels, "value": value, "none": {}, "empty": ""}
        return "".join(part if isinstance(part, str) else _rendered(part, given) for part in self.parts)


def render_all(templates: Mapping[str, Template], labels: Mapping[str, str], value: float) -> dict[str, str]:
    """The texts of all, by their names."""
    return {name: template.render(labels, value) for name, template in templates.items()}


def read_all(texts: Mapping[str, str]) -> dict[str, Template]:
    """Templates by name. Raises ValueError that begins with the name of the text that is wrong."""
    found = {}
    for name, text in texts.items():
        try:
            found[name] = Template.of(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return found


def _rendered(part: Part, given: Given) -> str:
    try:
        return as_text(part(given))
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, re.error) as error:
        return f"<error: {error}>"


class _Reader:
    """One action, `{{ ... }}`: a pipeline of commands."""

    def __init__(self, text: str):
        self._text = " ".join(text.split())
        self._tokens = [m["token"] for m in _TOKEN.finditer(text) if m["token"] is not None]
        self._at = self._depth = 0

    def whole(self) -> Part:
        found = self._pipeline()
        if self._peek():
            self._refuse(f"{self._peek()!r} is not expected there")
        return found

    def _refuse(self, what: str) -> Any:
        raise ValueError(f"{{{{ {self._text[:60]} }}}}: {what}; {_EXPECTED}")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _pipeline(self) -> Part:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse("is nested too deeply")
        found = self._command(None)
        while self._peek() == "|":
            self._next()
            found = self._command(found)
        self._depth -= 1
        return found

    def _command(self, piped: Part | None) -> Part:
        """A value, or a function with what it takes; what is piped in comes last."""
        token = self._peek()
        if token in FUNCTIONS:
            self._next()
            operands = []
            while self._peek() not in ("", "|", ")"):
                operands.append(self._operand())
            return self._call(token, operands if piped is None else [*operands, piped])
        if piped is not None:
            self._refuse(f"{token or 'the end'!r} is no function; there are {', '.join(sorted(FUNCTIONS))}")
        found = self._operand()
        if self._peek() not in ("", "|", ")"):
            self._refuse(f"{self._peek()!r} is not expected there")
        return found

    def _call(self, name: str, operands: Sequence[Part]) -> Part:
        function, least, most = FUNCTIONS[name]
        if not least <= len(operands) <= most:
            self._refuse(f"{name} takes {least if least == most else f'at least {least}'} values; got {len(operands)}")
        return lambda given: function(*(operand(given) for operand in operands))

    def _operand(self) -> Part:
        word = self._next()
        if word == "(":
            found = self._pipeline()
            if self._next() != ")":
                self._refuse('")" is missing')
            return found
        if word[:1] in ('"', "`"):
            text = _unquoted(word)
            return lambda given: text
        if re.fullmatch(r"[+-]?\d.*", word):
            number = float(word)
            return lambda given: number
        if word[:1] in ("$", "."):
            return self._named(word)
        if word in _REFUSED:
            return self._refuse(f"{word} is not supported")
        return self._refuse(f"{word or 'the end'!r} is no value and no function")

    def _named(self, token: str) -> Part:
        """`$labels.host`, `$value`."""
        name, _, label = token.partition(".") if token[0] == "$" else token.rpartition(".")
        if token in _NAMES or token[0] == ".":
            head, _, label = token[1:].partition(".")
            name = token[0] + head
        kind = _NAMES.get(name)
        if kind is None:
            return self._refuse(f"{name} is not known; there are $labels and $value")
        if not label:
            return lambda given: given[kind]
        if kind not in ("labels", "none") or "." in label:
            return self._refuse(f"{token} is not known; there are $labels and $value")
        return lambda given: given[kind].get(label, "")


def _unquoted(token: str) -> str:
    if token[0] == "`":
        return token[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), token[1:-1])
