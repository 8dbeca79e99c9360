"""What a SELECT asks for, checked as InfluxDB checks it, its wildcards written out, and its columns named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from almenara.model.errors import NotSupported, QueryError
from almenara.query.influxql.aggregates import AGGREGATES, SELECTORS
from almenara.query.influxql.arithmetic import MATH
from almenara.query.influxql.names import searching
from almenara.query.influxql.syntax import Binary, Call, Duration, Expr, Field, Number, Ref, Regex, Select, Star
from almenara.query.influxql.transforms import TRANSFORMS

_MANY = ("distinct", "top", "bottom")  # give several rows of one window
_LATER = (
    "sample", "holt_winters", "holt_winters_with_fit", "histogram", "chande_momentum_oscillator",
    "exponential_moving_average", "double_exponential_moving_average", "kaufmans_adaptive_moving_average",
    "kaufmans_efficiency_ratio", "relative_strength_index", "triple_exponential_derivative",
    "triple_exponential_moving_average", "cumulative_count", "non_null",
)  # fmt: skip
_UNITS = ("derivative", "non_negative_derivative", "elapsed", "integral")
_OPEN = (Star, Regex)
_CASTS_OF_FIELDS = ("", "field", "float", "integer", "unsigned", "boolean")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the answer."""

    name: str
    expr: Expr


def calls_of(expr: Expr) -> Iterator[Call]:
    """The functions of many rows in an expression; those inside another one are that one's own."""
    if isinstance(expr, Call):
        if expr.name not in MATH:
            yield expr
        else:
            for arg in expr.args:
                yield from calls_of(arg)
    elif isinstance(expr, Binary):
        yield from calls_of(expr.left)
        yield from calls_of(expr.right)


def loose_of(expr: Expr) -> Iterator[Ref | Star | Regex]:
    """Names and wildcards in an expression outside of functions of many rows."""
    if isinstance(expr, Ref | Star | Regex):
        yield expr
    elif isinstance(expr, Binary):
        yield from loose_of(expr.left)
        yield from loose_of(expr.right)
    elif isinstance(expr, Call) and expr.name in MATH:
        for arg in expr.args:
            yield from loose_of(arg)


def with_top_tags(fields: Sequence[Field]) -> list[Field]:
    """`top(v, host, 2)` with the column `host` that it shows."""
    found: list[Field] = []
    for field in fields:
        found.append(field)
        if isinstance(field.expr, Call) and field.expr.name in ("top", "bottom"):
            found += [Field(arg) for arg in field.expr.args[1:-1]]
    return found


def check(select: Select, fields: Sequence[Field]) -> None:
    """Raise QueryError where the parts of a statement do not go together, NotSupported for what is not done here."""
    if not fields:
        raise QueryError("at least 1 non-time field must be queried")
    calls = [call for field in fields for call in calls_of(field.expr)]
    loose = any(True for field in fields for _ in loose_of(field.expr))
    every_ns = select.groups.every_ns
    for field in fields:
        _check_field(field.expr)
    for call in calls:
        _check_call(call, every_ns)
    many = next((call.name for call in calls if call.name in _MANY), "")
    if not calls:
        if select.groups.fill in ("none", "linear"):
            raise QueryError(f"fill({select.groups.fill}) must be used with a function")
        if every_ns:
            raise QueryError("GROUP BY requires at least one aggregate function")
    elif many == "distinct" and (len(calls) > 1 or loose):
        raise QueryError("aggregate function distinct() cannot be combined with other functions or fields")
    elif many and len(calls) > 1:
        raise QueryError(f"selector function {many}() cannot be combined with other functions")
    elif loose and not all(_selects(call) for call in calls):
        raise QueryError("mixing aggregate and non-aggregate queries is not supported")
    elif loose and len(calls) > 1:
        raise QueryError("mixing multiple selector functions with tags or fields is not supported")


def _selects(call: Call) -> bool:
    return call.name in (*SELECTORS, "top", "bottom") and not isinstance(call.args[0], _OPEN)


def _check_field(expr: Expr) -> None:
    if isinstance(expr, Binary):
        for part in (*loose_of(expr), *(call.args[0] for call in calls_of(expr) if call.args)):
            if isinstance(part, _OPEN):
                what = "wildcard" if isinstance(part, Star) else "regex"
                raise QueryError(f"unable to use {what} in a binary expression")
        if not any(True for _ in (*calls_of(expr), *loose_of(expr))):
            raise QueryError("cannot perform a binary expression on two literals")
    elif not isinstance(expr, Ref | Star | Regex | Call):
        raise QueryError("expected a field or a function")


def _check_call(call: Call, every_ns: int) -> None:
    name, args = call.name, call.args
    if name in _LATER:
        raise NotSupported(f"{name}() is not supported yet")
    if name not in (*AGGREGATES, *SELECTORS, *TRANSFORMS, *_MANY):
        raise QueryError(f"undefined function {name}()")
    if name in ("top", "bottom"):
        _check_top(call)
        return
    least, most = (2, 2) if name in ("percentile", "moving_average") else (1, 2 if name in _UNITS else 1)
    if not least <= len(args) <= most:
        wanted = str(least) if least == most else f"at least {least} but no more than {most}"
        raise QueryError(f"invalid number of arguments for {name}, expected {wanted}, got {len(args)}")
    _check_parameter(call)
    inside = args[0]
    if name == "count" and isinstance(inside, Call) and inside.name == "distinct":
        _check_call(inside, every_ns)
    elif name in TRANSFORMS and isinstance(inside, Call):
        if not every_ns:
            raise QueryError(f"{name} aggregate requires a GROUP BY interval")
        if inside.name in (*_MANY, *TRANSFORMS, *MATH):
            raise NotSupported(f"{inside.name}() inside {name}() is not supported yet")
        _check_call(inside, every_ns)
    elif name in TRANSFORMS and every_ns:
        raise QueryError(f"aggregate function required inside the call to {name}")
    elif not isinstance(inside, Ref | Star | Regex) or (name == "distinct" and not isinstance(inside, Ref)):
        raise QueryError(f"expected field argument in {name}()")


def _check_parameter(call: Call) -> None:
    if len(call.args) < 2:
        return
    name, value = call.name, call.args[1]
    if name == "percentile":
        if not isinstance(value, Number):
            raise QueryError("expected float argument in percentile()")
    elif name == "moving_average":
        if not isinstance(value, Number) or not isinstance(value.value, int):
            raise QueryError("second argument for moving_average must be an integer")
        if value.value <= 1:
            raise QueryError(f"moving_average window must be greater than 1, got {value.value}")
    elif not isinstance(value, Duration):
        raise QueryError(f"second argument to {name} must be a duration")
    elif value.ns <= 0:
        raise QueryError(f"duration argument must be positive, got {value.ns}ns")


def _check_top(call: Call) -> None:
    name, args = call.name, call.args
    if len(args) < 2:
        raise QueryError(f"invalid number of arguments for {name}, expected at least 2, got {len(args)}")
    last = args[-1]
    if not isinstance(last, Number) or not isinstance(last.value, int):
        raise QueryError(f"expected integer as last argument in {name}()")
    if last.value <= 0:
        raise QueryError(f"limit ({last.value}) in {name} function must be at least 1")
    if not all(isinstance(arg, Ref) for arg in args[:-1]):
        raise QueryError(f"only fields or tags are allowed in {name}()")


def expanded(
    fields: Sequence[Field], known: Mapping[str, str], tags: Sequence[str], grouped: Iterable[str]
) -> list[Column]:
    """The columns, wildcards written out over the fields that are known and the tags that are not grouped by."""
    grouped = set(grouped)
    free = [tag for tag in tags if tag not in grouped]
    found: list[Field] = []
    for field in fields:
        expr = field.expr
        if isinstance(expr, _OPEN):
            found += [Field(one) for one in _matching(expr, known, free)]
        elif isinstance(expr, Call) and expr.args and (open_ := _open_in(expr)) is not None:
            for one in _matching(open_, known, ()):
                found.append(Field(_closed(expr, one), f"{field.alias or expr.name}_{one.name}"))
        else:
            found.append(field)
    return _named(found)


def _open_in(call: Call) -> Star | Regex | None:
    inside = call.args[0]
    if isinstance(inside, Call):
        return _open_in(inside) if inside.args else None
    return inside if isinstance(inside, _OPEN) else None


def _closed(call: Call, ref: Ref) -> Call:
    inside = call.args[0]
    return replace(call, args=(_closed(inside, ref) if isinstance(inside, Call) else ref, *call.args[1:]))


def _matching(wanted: Star | Regex, fields: Iterable[str], tags: Iterable[str]) -> list[Ref]:
    found = [Ref(name, "field") for name in fields] + [Ref(name, "tag") for name in tags]
    if isinstance(wanted, Regex):
        matcher = searching("name", "=~", wanted)
        found = [ref for ref in found if matcher.matches(ref.name)]
    elif wanted.cast:
        kind = "tag" if wanted.cast == "tag" else "field"
        found = [ref for ref in found if ref.cast == kind]
    return sorted(found, key=lambda ref: ref.name.encode())


def _named(fields: Sequence[Field]) -> list[Column]:
    """A name for each: its alias, or what it is made of; one that is taken gets a number."""
    used = {field.alias for field in fields if field.alias} | {"time"}
    found: list[Column] = []
    for field in fields:
        name = field.alias
        if not name:
            name = base = _name_of(field.expr)
            n = 0
            while name in used:
                n += 1
                name = f"{base}_{n}"
            used.add(name)
        found.append(Column(name, field.expr))
    return found


def _name_of(expr: Expr) -> str:
    if isinstance(expr, Ref | Call):
        return expr.name
    if isinstance(expr, Binary):
        return "_".join(part for part in (_name_of(expr.left), _name_of(expr.right)) if part)
    return ""


def is_field(ref: Ref) -> bool:
    """Whether a name may be a field's, as it was written."""
    return ref.cast in _CASTS_OF_FIELDS
