"""A plugin's constructor is its manual: its keyword arguments are the options, their types the validation.

    class Scrape(Poll):
        '''Reads metrics from an HTTP page in the Prometheus text format.

        Options:
            url: The page to read, such as `http://host:9100/metrics`.
            every_s: Time between two readings.
        '''

        def __init__(self, *, url: str, every_s: Annotated[float, Range(1)] = 10.0) -> None: ...

**Docstring.** The first line says what the plugin is. Under a line `Options:` each option has one line, indented,
`name: text`; lines indented deeper go on with the text before them. A blank line or a line that is not indented ends
the list.

**Types.** str, int, float, bool, Path, Literal[...], Secret, list[T], dict[str, T], `T | None`. Numbers may have bounds
as `Annotated[int, Range(0, 2)]`, texts a condition as `Annotated[str, Must(words, function)]`. A float named `*_s` (or
of type `Duration`) also takes a text such as "5m". A name that is a Python keyword gets a `_` at its end (`for_`) and
is written without it.

**Not options** are parameters that begin with `_`, and those that the house gives (`GIVEN`).
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any

from almenara.model.errors import ConfigError, PluginError, Problem
from almenara.plugin.values import Duration, Invalid, Must, Range, Secret, check_value, describe, render, show, toml_key

__all__ = [
    "GIVEN",
    "REQUIRED",
    "Duration",
    "Must",
    "Option",
    "Range",
    "Secret",
    "build",
    "check",
    "construct",
    "option_docs",
    "options_of",
    "read",
    "render",
    "show",
]

#: Parameters that the house passes to a constructor that has them; a user cannot set them.
GIVEN = frozenset({"calendars", "clock", "folder"})


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


#: Default of an option that has none.
REQUIRED: Any = _Required()


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `name` as users write it, `parameter` as the constructor calls it, `annotation` its type."""

    name: str
    parameter: str
    annotation: Any
    default: Any
    help: str

    @property
    def required(self) -> bool:
        """Has it no default?"""
        return self.default is REQUIRED

    @property
    def type_text(self) -> str:
        """Its type in words: `number from 0 to 1`, `duration, such as "5m"`."""
        return describe(self.annotation)

    @property
    def default_text(self) -> str:
        """Its default as it would be written in TOML; empty where there is none."""
        return "" if self.default is REQUIRED or self.default is None else render(self.default, self.annotation)


def options_of(cls: Any, given: typing.Collection[str] = GIVEN) -> tuple[Option, ...]:
    """The options of a class (or function), in the order of its signature. Raises PluginError for unreadable types."""
    return _options_of(cls, frozenset(given))


@lru_cache(maxsize=512)
def _options_of(cls: Any, given: frozenset[str]) -> tuple[Option, ...]:
    hints, helps = _hints(cls), option_docs(cls)
    factories = {f.name: f.default_factory for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    found = []
    for parameter in inspect.signature(cls).parameters.values():
        name = parameter.name
        if name.startswith("_") or name in given or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        factory = factories.get(name, dataclasses.MISSING)
        if factory is not dataclasses.MISSING:
            default = factory()
        annotation = hints.get(name, inspect.Parameter.empty)
        if name.endswith("_s") and _has_float(annotation):
            annotation = Annotated[annotation, "duration"]
        found.append(Option(name.rstrip("_"), name, annotation, default, helps.get(name.rstrip("_"), "")))
    return tuple(found)


def option_docs(cls: Any) -> dict[str, str]:
    """What the docstring says of each option (under `Options:`), those of base classes included."""
    texts: dict[str, str] = {}
    for one in reversed(inspect.getmro(cls)) if inspect.isclass(cls) else (cls,):
        doc = one.__dict__.get("__doc__") if inspect.isclass(one) else one.__doc__
        texts |= _parse_options(inspect.cleandoc(doc)) if doc else {}
    return texts


def _parse_options(doc: str) -> dict[str, str]:
    _, heading, rest = ("\n" + doc).partition("\nOptions:\n")
    texts: dict[str, str] = {}
    name, depth = "", 0
    for line in rest.splitlines() if heading else ():
        indent = len(line) - len(line.lstrip())
        if not line.strip() or indent == 0:
            break
        match = re.match(r"\s+(\w+):\s*(.*)", line)
        if match and (not name or indent <= depth):
            name, depth = match[1], indent
            texts[name] = match[2].strip()
        elif name:
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts


def read(
    cls: Any,
    table: Mapping[str, Any],
    where: str = "",
    given: typing.Collection[str] = GIVEN,
    partial: bool = False,
) -> tuple[dict[str, Any], list[Problem]]:
    """The constructor's arguments from a table, and every mistake in it. Options left out are not in the arguments;
    partial: that those without a default are left out is no mistake."""
    options = {o.name: o for o in options_of(cls, given)}
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in table.items():
        place = f"{where}.{toml_key(key)}" if where else toml_key(key)
        option = options.get(key)
        if option is None:
            near = get_close_matches(key, options, n=1, cutoff=0.6)
            known = f"did you mean {near[0]}?" if near else f"known: {', '.join(options) or 'none'}"
            problems.append(Problem(place, "unknown option", known))
            continue
        try:
            values[option.parameter] = check_value(value, option.annotation)
        except Invalid as error:
            problems.append(Problem(place + error.path, str(error)))
    for option in options.values():
        if option.required and option.name not in table and not partial:
            place = f"{where}.{option.name}" if where else option.name
            problems.append(Problem(place, f"is missing; expected {option.type_text}", option.help))
    return values, problems


def check(cls: Any, table: Mapping[str, Any], where: str = "") -> list[Problem]:
    """Every mistake in `table` as options of `cls`; empty where it is right."""
    return read(cls, table, where)[1]


def build(cls: Any, table: Mapping[str, Any], where: str = "", **given: Any) -> Any:
    """An instance of `cls` with these options. Raises ConfigError with every mistake.

    `given`: what the house gives; only those are passed on that the constructor has a parameter for.
    """
    values, problems = read(cls, table, where)
    if problems:
        raise ConfigError(problems)
    return construct(cls, values, where, **given)


def construct(cls: Any, values: Mapping[str, Any], where: str = "", **given: Any) -> Any:
    """An instance from the arguments that `read` gave; what the house gives fills in where they say nothing."""
    parameters = inspect.signature(cls).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    try:
        return cls(**{k: v for k, v in given.items() if anything or k in parameters} | dict(values))
    except ValueError as error:
        raise ConfigError([Problem(where or getattr(cls, "__name__", "?"), str(error))]) from error


# --- types of a signature ---------------------------------------------------------------------------------------------


class Unresolved:
    """Stands for a name in an annotation that does not exist at run time (imported for type checkers only)."""

    def __class_getitem__(cls, item: Any) -> type:
        return cls


class _Names(dict[str, Any]):
    """Names as a function sees them, with `Unresolved` for those that only a type checker knows."""

    def __init__(self, function: Any):
        super().__init__()
        self.function_globals = getattr(function, "__globals__", {})

    def __missing__(self, name: str) -> Any:
        builtins = self.function_globals.get("__builtins__", {})
        names = builtins if isinstance(builtins, dict) else vars(builtins)
        return self.function_globals.get(name, names.get(name, Unresolved))


def _hints(cls: Any) -> dict[str, Any]:
    function = cls.__init__ if inspect.isclass(cls) else cls
    try:
        return typing.get_type_hints(function, localns=_Names(function), include_extras=True)
    except (TypeError, AttributeError, SyntaxError) as error:
        raise PluginError(
            f"{getattr(cls, '__qualname__', cls)}: its constructor's types cannot be read: {error}"
        ) from error


def _has_float(annotation: Any) -> bool:
    if typing.get_origin(annotation) is Annotated:
        return _has_float(annotation.__origin__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(map(_has_float, typing.get_args(annotation)))
    return annotation is float
