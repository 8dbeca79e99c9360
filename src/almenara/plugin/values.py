"""One value against one type: what a config file may hold for an option, and how a mistake is told to its writer."""

from __future__ import annotations

import math
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from almenara.model.time import format_duration, parse_duration

#: A number of seconds, also written as a text such as "5m" or "1h30m".
Duration = Annotated[float, "duration"]

_SECRET_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both included: `Annotated[int, Range(0, 2)]`. None = no bound."""

    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        """Is the value inside? NaN is not."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def words(self, whole: bool = False) -> str:
        """`0, 1 or 2`, `from 0 to 10`, `at least 0`, `at most 10`."""
        if self.low is not None and self.high is not None:
            if whole and self.high - self.low <= 4:
                return _one_of([str(n) for n in range(int(self.low), int(self.high) + 1)])
            return f"from {_number(self.low)} to {_number(self.high)}"
        return f"at least {_number(self.low)}" if self.low is not None else f"at most {_number(self.high)}"


@dataclass(frozen=True, slots=True)
class Must:
    """A condition on a text: `Annotated[str, Must("HOST:PORT", is_address)]`. `words` says what it must be."""

    words: str
    holds: Callable[[str], bool]


class Secret(str):
    """A text that is never shown: its `repr` hides it. In a config `env:NAME` and `file:PATH` say where it is kept."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')" if self else "Secret('')"

    @classmethod
    def resolve(cls, text: str) -> Secret:
        """The secret itself, read from the environment or a file where `text` says so. Raises Invalid."""
        kind, _, name = text.partition(":")
        if kind == "env":
            if name not in os.environ:
                raise Invalid(f"the environment variable {name} is not set")
            return cls(os.environ[name])
        if kind == "file":
            return cls(_first_line(Path(name).expanduser()))
        return cls(text)


class Invalid(ValueError):
    """A value does not fit. `path` says where inside it: `[2]`, `.key`."""

    def __init__(self, message: str, path: str = ""):
        self.path = path
        super().__init__(message)


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_SECRET_BYTES + 1)
        if len(raw) > _SECRET_BYTES:
            raise Invalid(f"the file {path} is too long for a secret (more than {_SECRET_BYTES} bytes)")
        return raw.decode().rstrip("\r\n")
    except OSError as error:
        raise Invalid(f"the file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"the file {path} is not UTF-8 text") from error


def check_value(value: Any, annotation: Any) -> Any:
    """`value` (as TOML or JSON gives it) as `annotation` wants it. Raises Invalid: what is expected, what was found."""
    base, marks = _strip(annotation)
    origin, args = typing.get_origin(base), typing.get_args(base)
    if origin in (typing.Union, types.UnionType):
        return _check_union(value, args, marks, annotation)
    if origin is Literal:
        return _check_literal(value, args)
    if origin in (list, Sequence, tuple) or base in (list, tuple):
        return _check_list(value, args[0] if args else Any, tuple if origin is tuple or base is tuple else list)
    if origin in (dict, Mapping) or base is dict:
        return _check_table(value, args[1] if args else Any, base)
    if base is Any or base is object:
        return value
    return _check_scalar(value, base, marks)


def _strip(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    marks: tuple[Any, ...] = ()
    while typing.get_origin(annotation) is Annotated:
        marks += annotation.__metadata__
        annotation = annotation.__origin__
    return annotation, marks


def _check_union(value: Any, args: tuple[Any, ...], marks: tuple[Any, ...], annotation: Any) -> Any:
    members = [a for a in args if a is not type(None)]
    if len(members) == 1:
        return check_value(value, Annotated[members[0], *marks] if marks else members[0])
    for member in members:
        try:
            return check_value(value, Annotated[member, *marks] if marks else member)
        except Invalid:
            continue
    raise _mismatch(describe(annotation), value)


def _check_literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    raise Invalid(f"must be {_one_of([show(c) for c in choices])}; got {show(value)}")


def _check_list(value: Any, member: Any, make: type) -> Any:
    if not isinstance(value, list | tuple):
        raise _mismatch(f"a list of {describe(member, plural=True)}", value)
    found = []
    for i, one in enumerate(value):
        try:
            found.append(check_value(one, member))
        except Invalid as error:
            raise Invalid(str(error), f"[{i}]{error.path}") from error
    return make(found)


def _check_table(value: Any, member: Any, base: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _mismatch(describe(base), value)
    found = {}
    for key, one in value.items():
        try:
            found[key] = check_value(one, member)
        except Invalid as error:
            raise Invalid(str(error), f".{toml_key(key)}{error.path}") from error
    return found


def _check_scalar(value: Any, base: Any, marks: tuple[Any, ...]) -> Any:
    bounds = next((m for m in marks if isinstance(m, Range)), None)
    if base is float and "duration" in marks and isinstance(value, str):
        try:
            value = parse_duration(value)
        except ValueError as error:
            raise Invalid(f'must be a duration such as "30s", "5m" or "1h30m"; got {show(value)}') from error
    if base is bool and isinstance(value, bool):
        return value
    if base in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return _check_number(value, base, bounds, marks)
    if isinstance(value, str):
        if base is Secret:
            return Secret.resolve(value)
        if base is Path:
            return Path(value).expanduser()
        if base is str:
            if wrong := [m.words for m in marks if isinstance(m, Must) and not m.holds(value)]:
                raise _mismatch(wrong[0], value)
            return value
    raise _mismatch(_words_of(base, marks), value)


def _check_number(value: float, base: type, bounds: Range | None, marks: tuple[Any, ...]) -> float:
    if base is int and not isinstance(value, int):
        raise _mismatch(_words_of(base, marks), value)
    number = base(value)
    if math.isnan(number):
        raise _mismatch(_words_of(base, marks), value)
    if bounds and not bounds.holds(number):
        raise Invalid(f"must be {bounds.words(base is int)}; got {show(value)}")
    return number


def _mismatch(expected: str, value: Any) -> Invalid:
    return Invalid(f"must be {expected}; got {show(value)}")


# --- words ------------------------------------------------------------------------------------------------------------

_WORDS = {
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    Path: ("a path", "paths"),
    Secret: ('a text, "env:NAME" or "file:PATH"', "secrets"),
    type(None): ("nothing", "nothing"),
}


def describe(annotation: Any, plural: bool = False) -> str:
    """A type in words for users: `a whole number from 0 to 2`."""
    base, marks = _strip(annotation)
    origin, args = typing.get_origin(base), typing.get_args(base)
    if origin in (typing.Union, types.UnionType):
        words = [describe(Annotated[a, *marks] if marks else a, plural) for a in args if a is not type(None)]
        return " or ".join(words)
    if origin is Literal:
        return _one_of([show(a) for a in args])
    if origin in (list, Sequence, tuple) or base in (list, tuple):
        return ("lists" if plural else "a list") + f" of {describe(args[0] if args else Any, plural=True)}"
    if origin in (dict, Mapping) or base is dict:
        return ("tables" if plural else "a table") + f" of {describe(args[1] if args else Any, plural=True)}"
    return _words_of(base, marks, plural)


def _words_of(base: Any, marks: tuple[Any, ...], plural: bool = False) -> str:
    words = _WORDS.get(base, ("a value", "values"))[plural]
    for mark in marks:
        if isinstance(mark, Must) and not plural:
            words = mark.words
    if "duration" in marks and base is float:
        words = "durations" if plural else 'a duration, such as "5m"'
    bounds = next((m for m in marks if isinstance(m, Range)), None)
    if bounds is None:
        return words
    return f"{words} {bounds.words()}" if bounds.words().startswith("from") else f"{words}, {bounds.words()}"


def is_known(annotation: Any) -> bool:
    """Is this a type that an option may have?"""
    base, _ = _strip(annotation)
    origin, args = typing.get_origin(base), typing.get_args(base)
    if origin is Literal:
        return all(isinstance(a, str | int | bool) for a in args)
    if origin in (typing.Union, types.UnionType, list, Sequence, tuple, dict, Mapping):
        return all(is_known(a) for a in args if a is not Ellipsis)
    return base in _WORDS or base is Any


def show(value: Any) -> str:
    """A value as its writer wrote it, shortened: texts in quotes, true and false small."""
    if isinstance(value, Secret):
        return "a secret"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if len(value) <= 60 else value[:57] + "..."
        return '"' + text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"'
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value)


def render(value: Any, annotation: Any = Any) -> str:
    """A value as TOML; durations of whole seconds as a text."""
    _, marks = _strip(annotation)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and "duration" in marks and math.isfinite(value):
        return f'"{format_duration(value)}"' if value else "0"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, str | Path):
        return _quoted(str(value))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_key(k)} = {render(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(map(render, value)) + "]"
    return str(value)


def _quoted(text: str) -> str:
    if "'" not in text and ('"' in text or "\\" in text) and text.isprintable():
        return f"'{text}'"
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def toml_key(name: str) -> str:
    """A key as TOML writes it: in quotes where it has other characters than letters, digits, `-` and `_`."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _quoted(name)


def _number(value: float | None) -> str:
    return f"{value:g}" if isinstance(value, float) and not value.is_integer() else f"{value:.0f}"


def _one_of(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
