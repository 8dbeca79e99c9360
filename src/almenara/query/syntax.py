"""Where an expression does not parse, and what was expected there. The parser library says neither."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]*
    | (?P<token> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` | [\w:.]+ | =~ | !~ | == | != | >= | <= | . )""",
    re.VERBOSE | re.DOTALL,
)
_OPERATOR = re.compile(r"==|!=|>=|<=|[-+*/%^<>@]|and|or|unless|atan2|offset")
_CLOSERS = {"(": ")", "{": "}", "[": "]"}

#: What may complete a broken text, and what a person calls its beginning; where one fits, those below it are not named.
_OPERAND = "a series, a number or a function"
_COMPLETIONS = (
    {"x": _OPERAND, "1, x[5m]": _OPERAND},
    {"5m": "a duration such as 5m", ' "x"': "a quoted text", '="x"': "one of = != =~ !~", 'x="x"': "a label name"},
    {"": "", ", x": '","', ") x": '")"', ") (x": '")"'},
    {"(x)": '"("', "(x[5m])": '"("', "(1, x)": '"("', "(x) x": '"("', "(x) (x)": '"("'},
)
_VAGUE = ("invalid promql query", "unclosed", "unexpected", "expected label", "no expression")
#: What the library says of texts that it could read, but whose parts do not fit together.
_READABLE = ("expected type", "arguments", "must ", "only ", "not allowed")
_MAX_SEARCH = 300  # tokens


class Token(NamedTuple):
    """A piece of the text, and where it begins."""

    text: str
    start: int


def tokens(text: str) -> list[Token]:
    """The pieces of an expression, without blanks and comments."""
    return [Token(m["token"], m.start("token")) for m in _TOKEN.finditer(text) if m["token"] is not None]


def weight(found: list[Token]) -> int:
    """How many operators there are, or how deep brackets nest: the larger."""
    depth = deepest = operators = 0
    for token in found:
        operators += _OPERATOR.fullmatch(token.text) is not None
        depth += (token.text in "([{") - (token.text in ")]}")
        deepest = max(deepest, depth)
    return max(deepest, operators)


def shorten(text: str) -> str:
    """The text on one line of at most 120 characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= 120 else flat[:117] + "..."


def explain(text: str, found: list[Token], message: str, parse: Callable[[str], Any]) -> str:
    """One line: where, what was found, what was expected. `message` is what the library said."""
    query = repr(shorten(text))
    if not found:
        return f"empty query: expected {_OPERAND}"
    if len(found) <= _MAX_SEARCH and any(word in message for word in _VAGUE):
        for length in range(len(found), -1, -1):
            good = text[: found[length - 1].start + len(found[length - 1].text)] if length else ""
            expected = _expected(good, found[:length], parse)
            if not expected:
                continue
            if length == len(found):
                return f"column {len(good) + 1} of {query}: found the end, expected {expected}"
            return f"column {found[length].start + 1} of {query}: found {found[length].text!r}, expected {expected}"
    quoted = re.search(r"['\"](\w+)['\"]|: (\w+)$", message)
    place = text.find(quoted[1] or quoted[2]) if quoted else -1
    where = f"column {place + 1} of {query}" if place >= 0 else query
    return f"{where}: {message}"


def _expected(good: str, found: list[Token], parse: Callable[[str], Any]) -> str:
    """What may follow `good`, by trying; "" where nothing can make it a query."""
    stack: list[str] = []
    for token in found:
        if token.text in _CLOSERS:
            stack.append(_CLOSERS[token.text])
        elif token.text in _CLOSERS.values() and (not stack or stack.pop() != token.text):
            return ""
    closers = "".join(reversed(stack))
    for group in _COMPLETIONS:
        names = [name for text, name in group.items() if _reads(f"{good} {text}{closers}", parse)]
        if names:
            end = "an operator or the end"
            if closers:
                end = f'an operator or "{closers[0]}"' if closers[0] == ")" else f'"{closers[0]}"'
            return " or ".join(dict.fromkeys(name or end for name in names))
    return ""


def _reads(text: str, parse: Callable[[str], Any]) -> bool:
    try:
        parse(text)
    except ValueError as error:
        return any(word in str(error) for word in _READABLE)
    return True
