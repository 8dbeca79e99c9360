"""What an expression is once it is parsed: a small tree of frozen nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from almenara.query.matcher import Matcher

ARITHMETIC = ("+", "-", "*", "/", "%", "^")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
#: Which series of both sides stay: those with a partner, those without, or all.
SETS = ("and", "unless", "or")
AGGREGATIONS = ("sum", "avg", "min", "max", "count")

#: Functions of a range selector, by name.
FUNCTIONS = (
    "rate",
    "increase",
    "delta",
    "irate",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "stddev_over_time",
    "quantile_over_time",
    "present_over_time",
    "deriv",
    "predict_linear",
)


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Selector:
    """Series by their labels; at time t the last sample of (t - offset - lookback, t - offset]."""

    matchers: tuple[Matcher, ...]
    offset_ns: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """`selector[5m]`: at time t all samples of (t - offset - range, t - offset]."""

    selector: Selector
    range_ns: int


@dataclass(frozen=True, slots=True)
class Negate:
    """`-operand`."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class Call:
    """One of FUNCTIONS over a window. parameter, a scalar: the quantile of quantile_over_time, how many
    seconds ahead predict_linear looks; None elsewhere."""

    function: str
    window: Window
    parameter: Expr | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One of AGGREGATIONS over the series that share labels: those listed (by), or all but those listed (without)."""

    op: str
    operand: Expr
    labels: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Matching:
    """Which labels two series must share to be a pair: those listed (on), or all but those listed (ignoring)."""

    labels: tuple[str, ...] = ()
    on: bool = False


@dataclass(frozen=True, slots=True)
class Binary:
    """`left op right`, op one of ARITHMETIC, COMPARISONS or SETS. returns_bool: 0 or 1 in place of a filter."""

    op: str
    left: Expr
    right: Expr
    returns_bool: bool = False
    matching: Matching = Matching()


@dataclass(frozen=True, slots=True)
class Absent:
    """`absent(operand)`: 1, with these labels, at times at which no series of the operand has a value."""

    operand: Expr
    labels: tuple[tuple[str, str], ...] = ()


Expr = Number | Selector | Negate | Call | Aggregate | Binary | Absent


def is_scalar(expr: Expr) -> bool:
    """Whether it gives one number and not one a series."""
    if isinstance(expr, Negate):
        return is_scalar(expr.operand)
    if isinstance(expr, Binary):
        return is_scalar(expr.left) and is_scalar(expr.right)
    return isinstance(expr, Number)


def needs(expr: Expr, lookback_ns: int) -> Iterator[tuple[Selector, int]]:
    """Every selector in it, with how far back from each time (minus its offset) it looks, in ns."""
    if isinstance(expr, Selector):
        yield expr, lookback_ns
    elif isinstance(expr, Call):
        yield expr.window.selector, expr.window.range_ns
    elif isinstance(expr, Binary):
        yield from needs(expr.left, lookback_ns)
        yield from needs(expr.right, lookback_ns)
    elif isinstance(expr, Negate | Aggregate | Absent):
        yield from needs(expr.operand, lookback_ns)
