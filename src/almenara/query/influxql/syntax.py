"""What a statement of InfluxQL says, as a tree: expressions, `Select` and the `Show...` statements.

Source: https://docs.influxdata.com/influxdb/v1/query_language/spec/.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Number:
    """A number; `3` is an int, `3.0` a float."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration such as `1h30m`, in ns."""

    ns: int


@dataclass(frozen=True, slots=True)
class Text:
    """A text in single quotes."""

    value: str


@dataclass(frozen=True, slots=True)
class Bool:
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class Regex:
    """`/pattern/`, which may match anywhere in a text."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Ref:
    """The name of a field or tag; cast: what stands after `::`, such as `tag`."""

    name: str
    cast: str = ""


@dataclass(frozen=True, slots=True)
class Star:
    """`*`, `*::field` or `*::tag`."""

    cast: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A function, its name in small letters."""

    name: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and what stands between them; AND and OR in capital letters."""

    op: str
    left: Expr
    right: Expr


Expr = Number | Duration | Text | Bool | Regex | Ref | Star | Call | Binary


@dataclass(frozen=True, slots=True)
class Field:
    """One column that is selected."""

    expr: Expr
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Where rows come from: one measurement, or all whose name a pattern matches."""

    name: str | Regex
    database: str = ""
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Groups:
    """GROUP BY. every_ns: 0 = not by time. fill: null, none, previous, linear or a number."""

    every_ns: int = 0
    offset_ns: int = 0
    tags: tuple[Ref | Star | Regex, ...] = ()
    fill: str | float = "null"


@dataclass(frozen=True, slots=True)
class Cut:
    """LIMIT, OFFSET (rows of a series), SLIMIT, SOFFSET (series). 0: no limit."""

    limit: int = 0
    offset: int = 0
    slimit: int = 0
    soffset: int = 0


@dataclass(frozen=True, slots=True)
class Select:
    """SELECT."""

    fields: tuple[Field, ...]
    sources: tuple[Measurement, ...]
    where: Expr | None = None
    groups: Groups = field(default_factory=Groups)
    descending: bool = False
    cut: Cut = field(default_factory=Cut)
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Show:
    """SHOW of `what`: measurements, tag keys, tag values, field keys, series, retention policies, databases; with
    ` cardinality` where only their number is asked for.

    wanted: after WITH: the measurement, or the tag keys; an operator and what it compares with.
    """

    what: str
    database: str = ""
    sources: tuple[Measurement, ...] = ()
    where: Expr | None = None
    wanted: tuple[str, Regex | tuple[str, ...]] | None = None
    cut: Cut = field(default_factory=Cut)


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """CREATE DATABASE."""

    name: str


Statement = Select | Show | CreateDatabase
