"""WHERE in two parts: the range of time that is asked for, and the condition on tags and fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from almenara.model.errors import NotSupported, QueryError
from almenara.model.series import label_name
from almenara.model.time import ns_from_datetime, ns_from_iso
from almenara.query.influxql.arithmetic import ARITHMETIC, evaluate
from almenara.query.influxql.names import searching
from almenara.query.influxql.syntax import Binary, Bool, Call, Duration, Expr, Number, Ref, Regex, Text
from almenara.query.matcher import Matcher

#: Times that no row passes: where no bound was given.
EARLIEST, LATEST = 0, 2**62

_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_COMPARE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "=": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
_TIME_TEXT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:\d\d)?")


@dataclass(frozen=True, slots=True)
class Span:
    """Times from start to end, both included, in ns; None where no bound was given."""

    start: int | None = None
    end: int | None = None

    def within(self, start: int | None, end: int | None) -> Span:
        """The part of it that lies in another one, too."""
        starts = [t for t in (self.start, start) if t is not None]
        ends = [t for t in (self.end, end) if t is not None]
        return Span(max(starts, default=None), min(ends, default=None))


def split(where: Expr | None, now_ns: int, zone: ZoneInfo | None = None) -> tuple[Span, Expr | None]:
    """The range of time in a condition, and the rest of it. Raises QueryError."""
    if not isinstance(where, Binary):
        return Span(), where
    if where.op in ("AND", "OR"):
        left, first = split(where.left, now_ns, zone)
        right, second = split(where.right, now_ns, zone)
        both = left.within(right.start, right.end)
        if first is None or second is None:
            return both, first or second
        return both, Binary(where.op, first, second)
    if _is_time(where.right) and not _is_time(where.left):
        where = Binary(_MIRRORED.get(where.op, where.op), where.right, where.left)
    if not _is_time(where.left):
        return Span(), where
    at = time_of(where.right, now_ns, zone)
    at = min(max(at, -LATEST), LATEST)
    spans = {">": Span(at + 1), ">=": Span(at), "<": Span(None, at - 1), "<=": Span(None, at), "=": Span(at, at)}
    if where.op not in spans:
        raise QueryError(f"invalid time comparison operator: {where.op}")
    return spans[where.op], None


def _is_time(expr: Expr) -> bool:
    return isinstance(expr, Ref) and expr.name.lower() == "time"


def time_of(expr: Expr, now_ns: int, zone: ZoneInfo | None) -> int:
    """The time in ns that an expression such as `now() - 1h` stands for. Raises QueryError."""
    if isinstance(expr, Number) and isinstance(expr.value, int):
        return expr.value
    if isinstance(expr, Duration):
        return expr.ns
    if isinstance(expr, Call) and expr.name == "now" and not expr.args:
        return now_ns
    if isinstance(expr, Text):
        return _written(expr.value, zone)
    if isinstance(expr, Binary) and expr.op in ("+", "-"):
        left, right = (time_of(side, now_ns, zone) for side in (expr.left, expr.right))
        return left + right if expr.op == "+" else left - right
    raise QueryError("invalid operation: time and what it is compared with are not compatible")


def _written(text: str, zone: ZoneInfo | None) -> int:
    found = _TIME_TEXT.fullmatch(text)
    if found is None:
        raise QueryError("invalid operation: time and *influxql.StringLiteral are not compatible")
    try:
        if zone is None or found[4]:
            return ns_from_iso(text)
        seconds, _, fraction = text.partition(".")
        moment = datetime.fromisoformat(seconds).replace(tzinfo=zone)
        return ns_from_datetime(moment) + int(fraction.ljust(9, "0")[:9] or "0")
    except (ValueError, OverflowError) as error:
        raise QueryError(f"invalid time {text!r}: {error}") from error


def conjuncts(condition: Expr | None) -> Iterator[Expr]:
    """The parts that must all hold."""
    if isinstance(condition, Binary) and condition.op == "AND":
        yield from conjuncts(condition.left)
        yield from conjuncts(condition.right)
    elif condition is not None:
        yield condition


def refs(expr: Expr | None) -> Iterator[Ref]:
    """Every name in an expression."""
    if isinstance(expr, Ref):
        yield expr
    elif isinstance(expr, Binary):
        yield from refs(expr.left)
        yield from refs(expr.right)
    elif isinstance(expr, Call):
        for arg in expr.args:
            yield from refs(arg)


def tag_matcher(expr: Expr) -> Matcher | None:
    """The matcher that says the same as a comparison of a tag with a text or a pattern; None for anything else."""
    if not isinstance(expr, Binary):
        return None
    if isinstance(expr.left, Text) and isinstance(expr.right, Ref) and expr.op in ("=", "!="):
        expr = replace(expr, left=expr.right, right=expr.left)
    if not isinstance(expr.left, Ref):
        return None
    label = label_name(expr.left.name)
    if isinstance(expr.right, Text) and expr.op in ("=", "!="):
        return Matcher(label, expr.op, expr.right.value)
    if isinstance(expr.right, Regex) and expr.op in ("=~", "!~"):
        return searching(label, expr.op, expr.right)
    return None


def tag_mask(condition: Expr | None, tags: Sequence[Mapping[str, str]]) -> np.ndarray:
    """bool[k]: which of k sets of tags fulfil a condition on tags alone. Raises QueryError."""
    if condition is None:
        return np.ones(len(tags), np.bool_)
    if isinstance(condition, Binary) and condition.op in ("AND", "OR"):
        left, right = tag_mask(condition.left, tags), tag_mask(condition.right, tags)
        return left & right if condition.op == "AND" else left | right
    if isinstance(condition, Bool):
        return np.full(len(tags), condition.value)
    matcher = tag_matcher(condition)
    if matcher is None:  # such as a tag and a number, which are never equal
        _check_comparison(condition)
        return np.zeros(len(tags), np.bool_)
    texts = [one.get(matcher.label, "") for one in tags]
    fits = {text: matcher.matches(text) for text in set(texts)}
    return np.fromiter((fits[text] for text in texts), np.bool_, len(texts))


def row_mask(
    condition: Expr, columns: Mapping[str, np.ndarray], owner: np.ndarray, tags: Sequence[Mapping[str, str]]
) -> np.ndarray:
    """bool[n]: which rows fulfil a condition. columns: float64[n] by field, NaN = no such value, which fulfils nothing;
    owner: int[n], which of `tags` a row has. Raises QueryError."""
    if not any(ref.name in columns for ref in refs(condition)):
        return tag_mask(condition, tags)[owner]
    if isinstance(condition, Binary) and condition.op in ("AND", "OR"):
        left = row_mask(condition.left, columns, owner, tags)
        right = row_mask(condition.right, columns, owner, tags)
        return left & right if condition.op == "AND" else left | right
    _check_comparison(condition)
    if not isinstance(condition, Binary) or condition.op not in _COMPARE:
        return np.zeros(len(owner), np.bool_)
    if any(isinstance(side, Text | Regex) for side in (condition.left, condition.right)):
        return np.zeros(len(owner), np.bool_)  # fields are numbers here
    named: dict[str | Call, np.ndarray] = {field: columns[field] for field in columns}
    left, right = (evaluate(side, named, len(owner)) for side in (condition.left, condition.right))
    return _COMPARE[condition.op](left, right) & ~np.isnan(left) & ~np.isnan(right)


def _check_comparison(condition: Expr) -> None:
    if not isinstance(condition, Binary) or condition.op in ARITHMETIC:
        raise NotSupported("a condition that is no comparison is not supported")
