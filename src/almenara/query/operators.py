"""Arithmetic and comparison between numbers and series, with Prometheus' rules for names, pairs and filters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from almenara.model.errors import QueryError
from almenara.query.expression import COMPARISONS, Binary, Expr, Matching, Negate, Number
from almenara.query.matcher import NAME
from almenara.query.matrix import series_text

_APPLY: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """k series at t times while an expression is evaluated.

    labels: k dicts; values: float64[k, t]; present: bool[k, t]. A value that is not present is NaN.
    """

    labels: list[dict[str, str]]
    values: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, labels: list[dict[str, str]], values: np.ndarray, present: np.ndarray) -> Vector:
        """Leaves out series that are present at no time, and puts NaN where a value is not present."""
        some: Any = present.any(axis=1)
        if not some.all():
            labels = [one for one, keep in zip(labels, some.tolist(), strict=True) if keep]
            values, present = values[some], present[some]
        return cls(labels, np.where(present, values, np.nan), present)


def apply(op: str, left: Any, right: Any) -> Any:
    """IEEE arithmetic: 1/0 is +Inf, 0/0 is NaN. Comparisons give booleans."""
    with np.errstate(all="ignore"):
        return _APPLY[op](left, right)


def constant(expr: Expr) -> float:
    """The number that a scalar expression is. Raises TypeError for one with series in it."""
    if isinstance(expr, Number):
        return expr.value
    if isinstance(expr, Negate):
        return -constant(expr.operand)
    if isinstance(expr, Binary):
        return float(apply(expr.op, np.float64(constant(expr.left)), np.float64(constant(expr.right))))
    raise TypeError(f"{type(expr).__name__} is no scalar")


def without_name(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels but the name."""
    return {k: v for k, v in labels.items() if k != NAME}


def negate(vector: Vector) -> Vector:
    """The negative of each value; the name goes. Raises QueryError where two series become one."""
    labels = [without_name(one) for one in vector.labels]
    require_distinct(labels)
    return Vector(labels, -vector.values, vector.present)


def with_number(expr: Binary, vector: Vector, number: float, number_left: bool) -> Vector:
    """A vector and a number; a comparison keeps the vector's value, whichever side it is on."""
    left, right = (number, vector.values) if number_left else (vector.values, number)
    values, kept = _combine(expr, left, right, vector.values)
    labels = vector.labels if _keeps_name(expr) else [without_name(one) for one in vector.labels]
    return merge(Vector.of(labels, values, vector.present & kept))


def with_vector(expr: Binary, left: Vector, right: Vector) -> Vector:
    """Two vectors, series by series with equal labels as `expr.matching` says. Raises QueryError unless one to one."""
    rights = _one_each(right, expr.matching, left.present.any(axis=0))
    pairs = [(i, key) for i, key in enumerate(_signatures(left, expr.matching)) if key in rights]
    if not pairs:
        return Vector([], np.empty((0, left.values.shape[1])), np.empty((0, left.values.shape[1]), bool))
    rows = [i for i, _ in pairs]
    lefts = left.values[rows]
    values, kept = _combine(expr, lefts, np.stack([rights[key][0] for _, key in pairs]), lefts)
    present = left.present[rows] & np.stack([rights[key][1] for _, key in pairs]) & kept
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for n, (_, key) in enumerate(pairs):
        groups[key].append(n)
    for members in groups.values():
        if len(members) > 1 and present[members].sum(axis=0).max() > 1:
            raise QueryError(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
    labels = [_pair_labels(expr, left.labels[i]) for i in rows]
    return merge(Vector.of(labels, values, present))


def with_set(expr: Binary, left: Vector, right: Vector) -> Vector:
    """`and`: series of the left that have a partner on the right at that time; `unless`: those that have none; `or`:
    all of the left, and of the right those without a partner. Whole labels stay."""
    lefts, rights = _signatures(left, expr.matching), _signatures(right, expr.matching)
    if expr.op == "or":
        alone = right.present & ~_partners(rights, lefts, left.present)
        kept = Vector.of(right.labels, right.values, alone)
        values, present = np.concatenate((left.values, kept.values)), np.concatenate((left.present, kept.present))
        return merge(Vector.of(left.labels + kept.labels, values, present))
    paired = _partners(lefts, rights, right.present)
    return Vector.of(left.labels, left.values, left.present & (paired if expr.op == "and" else ~paired))


def _partners(mine: list[tuple[str, ...]], others: list[tuple[str, ...]], present: np.ndarray) -> np.ndarray:
    """bool[mine, t]: at which times another series with an equal signature is present."""
    rows: dict[tuple[str, ...], Any] = {}
    for n, key in enumerate(others):
        rows[key] = rows[key] | present[n] if key in rows else present[n]
    none = np.zeros(present.shape[1], bool)
    return np.stack([rows.get(key, none) for key in mine]) if mine else np.zeros((0, len(none)), bool)


def merge(vector: Vector) -> Vector:
    """Series with equal labels become one. Raises QueryError where two have a value at the same time."""
    groups: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for n, labels in enumerate(vector.labels):
        groups[label_key(labels)].append(n)
    if len(groups) == len(vector.labels):
        return vector
    labels_out, values, present = [], [], []
    for members in groups.values():
        if vector.present[members].sum(axis=0).max() > 1:
            _refuse_duplicates(vector.labels[members[0]])
        labels_out.append(vector.labels[members[0]])
        present.append(vector.present[members].any(axis=0))
        values.append(_collapse(vector, members))
    return Vector(labels_out, np.stack(values), np.stack(present))


def require_distinct(labels: list[dict[str, str]]) -> None:
    """Raises QueryError where two series have equal labels."""
    seen = set()
    for one in labels:
        key = label_key(one)
        if key in seen:
            _refuse_duplicates(one)
        seen.add(key)


def label_key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Labels in Prometheus' order, to compare and sort by."""
    return tuple(sorted(labels.items()))


def _refuse_duplicates(labels: Mapping[str, str]) -> None:
    raise QueryError(
        f"vector cannot contain metrics with the same labelset; found {series_text(labels)} more than once "
        "after the name was left out; select one name"
    )


def _keeps_name(expr: Binary) -> bool:
    return expr.op in COMPARISONS and not expr.returns_bool


def _combine(expr: Binary, left: Any, right: Any, kept_value: np.ndarray) -> tuple[np.ndarray, Any]:
    """(values, which of them stay)."""
    result = apply(expr.op, left, right)
    if expr.op not in COMPARISONS:
        return result, True
    return (result.astype(np.float64), True) if expr.returns_bool else (kept_value, result)


def _signatures(vector: Vector, matching: Matching) -> list[tuple[str, ...]]:
    """What must be equal for two series to be a pair."""
    if matching.on:
        return [tuple(labels.get(name, "") for name in matching.labels) for labels in vector.labels]
    left_out = {NAME, *matching.labels}
    return [
        tuple(part for k in sorted(labels) if k not in left_out for part in (k, labels[k])) for labels in vector.labels
    ]


def _one_each(right: Vector, matching: Matching, asked: Any) -> dict[tuple[str, ...], tuple[np.ndarray, Any]]:
    """signature -> (values, present) of the right side, one series at each time where the left has any (`asked`)."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for n, key in enumerate(_signatures(right, matching)):
        groups[key].append(n)
    one_each = {}
    for key, members in groups.items():
        if len(members) == 1:
            one_each[key] = (right.values[members[0]], right.present[members[0]])
            continue
        if (right.present[members].sum(axis=0) * asked).max() > 1:
            names = ", ".join(series_text(right.labels[n]) for n in members[:2])
            raise QueryError(
                f"found duplicate series for the match group on the right hand-side of the operation: [{names}]; "
                "many-to-many matching not allowed: matching labels must be unique on one side"
            )
        one_each[key] = (_collapse(right, members), right.present[members].any(axis=0))
    return one_each


def _collapse(vector: Vector, members: list[int]) -> np.ndarray:
    """float64[t]: at each time the value of the one member that is present."""
    which = vector.present[members].argmax(axis=0)
    return np.take_along_axis(vector.values[members], which[None, :], axis=0)[0]


def _pair_labels(expr: Binary, labels: dict[str, str]) -> dict[str, str]:
    """Labels of the result of a pair, from its left series."""
    if not _keeps_name(expr):
        labels = without_name(labels)
    if expr.matching.on:
        return {k: v for k, v in labels.items() if k in expr.matching.labels}
    return {k: v for k, v in labels.items() if k not in expr.matching.labels}
