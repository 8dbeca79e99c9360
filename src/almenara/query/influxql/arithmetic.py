"""Arithmetic on columns as InfluxQL has it: x / 0 is 0, a missing value makes the result missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from almenara.model.errors import NotSupported, QueryError
from almenara.query.influxql.syntax import Binary, Bool, Call, Expr, Number, Ref

#: Functions of numbers, each the same of every row: how many arguments they take, and what they do.
MATH: dict[str, tuple[int, Callable[..., np.ndarray]]] = {
    "abs": (1, np.abs),
    "acos": (1, np.arccos),
    "asin": (1, np.arcsin),
    "atan": (1, np.arctan),
    "atan2": (2, np.arctan2),
    "ceil": (1, np.ceil),
    "cos": (1, np.cos),
    "exp": (1, np.exp),
    "floor": (1, np.floor),
    "ln": (1, np.log),
    "log": (2, lambda x, base: np.log(x) / np.log(base)),
    "log2": (1, np.log2),
    "log10": (1, np.log10),
    "pow": (2, np.power),
    "round": (1, lambda x: np.trunc(x + np.copysign(0.5, x))),
    "sin": (1, np.sin),
    "sqrt": (1, np.sqrt),
    "tan": (1, np.tan),
}


def _divided(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    missing = np.isnan(left) | np.isnan(right)
    return np.where((right == 0) & ~missing, 0.0, left / right)


ARITHMETIC: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": _divided, "%": np.fmod,
}  # fmt: skip


def evaluate(expr: Expr, columns: Mapping[str | Call, np.ndarray], n: int) -> np.ndarray:
    """float64[n] of an expression over columns: float64[n] by the name of a field, or by the call that gave it. A name
    that is not among them is missing everywhere. Raises QueryError."""
    if isinstance(expr, Number | Bool):
        return np.full(n, float(expr.value))
    if isinstance(expr, Ref):
        found = columns.get(expr.name)
        return np.full(n, np.nan) if found is None else found
    if isinstance(expr, Call):
        if expr in columns:
            return columns[expr]
        return _math(expr, columns, n)
    if isinstance(expr, Binary):
        operator = ARITHMETIC.get(expr.op)
        if operator is None:
            raise NotSupported(f"the operator {expr.op} between numbers is not supported yet")
        with np.errstate(all="ignore"):
            return operator(evaluate(expr.left, columns, n), evaluate(expr.right, columns, n))
    raise QueryError(f"expected a number or a field; found {type(expr).__name__}")


def _math(call: Call, columns: Mapping[str | Call, np.ndarray], n: int) -> np.ndarray:
    if call.name not in MATH:
        raise QueryError(f"undefined function {call.name}()")
    count, function = MATH[call.name]
    if len(call.args) != count:
        raise QueryError(f"invalid number of arguments for {call.name}, expected {count}, got {len(call.args)}")
    with np.errstate(all="ignore"):
        found = function(*(evaluate(arg, columns, n) for arg in call.args))
    return np.where(np.isinf(found), np.nan, found)
