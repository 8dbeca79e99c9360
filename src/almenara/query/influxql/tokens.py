"""InfluxQL's text to tokens: names, quoted texts, numbers, durations, patterns between slashes, and signs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from almenara.model.errors import QuerySyntax

#: Longest text of one request that is read, in characters.
MAX_LENGTH = 100_000

_UNITS = {"ns": 1, "u": 10**3, "µ": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS |= {"h": 3600 * 10**9, "d": 86_400 * 10**9, "w": 604_800 * 10**9}
_TOKEN = re.compile(
    r"""
    (?P<space>  (?: \s+ | --[^\n]* | /\*.*?\*/ )+ )
  | (?P<duration> (?: \d+ (?: ns|ms|u|µ|s|m|h|d|w ) )+ (?![A-Za-z0-9_]) )
  | (?P<number> \d+\.\d+ | \.\d+ | \d+ )
  | (?P<name> [^\W\d]\w* | "(?:[^"\\\n]|\\.)*" )
  | (?P<text> '(?:[^'\\\n]|\\.)*' )
  | (?P<bound> \$ (?: \w+ | "(?:[^"\\\n]|\\.)*" ) )
  | (?P<sign> =~ | !~ | != | <> | <= | >= | :: | [-+*/%&|^()=<>,;.:] )
    """,
    re.VERBOSE | re.DOTALL,
)
_PATTERN = re.compile(r"/((?:[^/\\\n]|\\.)*)/")
_ESCAPES = re.compile(r"\\(.)", re.DOTALL)
#: A slash after one of these divides; anywhere else it begins a pattern.
_OPERANDS = ("number", "duration", "text", "name", "bound")
_BEFORE_PATTERN = {"from", "by", "select", "and", "or", "on", "where", "in", "distinct"}


@dataclass(frozen=True, slots=True)
class Token:
    """kind: name, text, number, duration, pattern, bound, sign or end. quoted: a name between double quotes."""

    kind: str
    text: str
    at: int
    quoted: bool = False

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords."""
        return self.kind == "name" and not self.quoted and self.text.lower() in words


def tokens_of(query: str) -> list[Token]:
    """The tokens of a request, the last one of kind `end`. Raises QuerySyntax."""
    if len(query) > MAX_LENGTH:
        raise QuerySyntax(f"error parsing query: found {len(query)} characters, expected at most {MAX_LENGTH}")
    found: list[Token] = []
    at = 0
    while at < len(query):
        begins = query[at] == "/" and not query.startswith("/*", at) and _begins_pattern(found)
        match = (_PATTERN if begins else _TOKEN).match(query, at)
        if match is None:
            raise QuerySyntax(
                f"error parsing query: found {query[at : at + 20]!r}, expected a token {place(query, at)}"
            )
        kind = "pattern" if begins else match.lastgroup or ""
        if kind != "space":
            found.append(_token(kind, match[1] if begins else match[0], at))
        at = match.end()
    return [*found, Token("end", "EOF", len(query))]


def _begins_pattern(found: list[Token]) -> bool:
    if not found:
        return False
    last = found[-1]
    if last.is_word(*_BEFORE_PATTERN):
        return True
    return last.kind not in _OPERANDS and last.text not in (")", "*")


def _token(kind: str, text: str, at: int) -> Token:
    if kind == "pattern":
        return Token(kind, text.replace("\\/", "/"), at)
    if text[0] in "\"'":
        return Token(kind, _unescaped(text[1:-1]), at, quoted=True)
    if kind == "bound":
        return Token(kind, _unescaped(text[2:-1]) if text[1] == '"' else text[1:], at)
    return Token(kind, text, at)


def _unescaped(text: str) -> str:
    return _ESCAPES.sub(lambda found: {"n": "\n"}.get(found[1], found[1]), text)


def duration_ns(text: str) -> int:
    """ns of `1h30m`."""
    return sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)(ns|ms|[uµsmhdw])", text))


def place(query: str, at: int) -> str:
    """`at line 1, char 7`, as InfluxDB says it."""
    return f"at line {query.count(chr(10), 0, at) + 1}, char {at - query.rfind(chr(10), 0, at)}"


def bound_token(token: Token, values: Mapping[str, object]) -> Token:
    """The token that stands for `$name`, from the request's `params`. Raises QuerySyntax."""
    if token.text not in values:
        raise QuerySyntax(f"error parsing query: missing parameter: {token.text}")
    value = values[token.text]
    if isinstance(value, bool):
        return Token("name", str(value).lower(), token.at)
    if isinstance(value, str):
        return Token("text", value, token.at, quoted=True)
    if isinstance(value, int | float) and value == value and abs(value) != float("inf"):
        return Token("number", str(value) if isinstance(value, int) else f"{value:f}", token.at)
    raise QuerySyntax(f"error parsing query: unable to bind parameter with type {type(value).__name__}")
