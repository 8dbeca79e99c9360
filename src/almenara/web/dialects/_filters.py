"""Which rows of a stream somebody wants: filters by field, then skip, limit, and every nth, as phant has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from almenara.config.dialects import TIMESTAMP
from almenara.model.errors import AlmenaraError
from almenara.model.time import parse_time
from almenara.query.regex import compile_full_match
from almenara.web.errors import HttpError

Row = Mapping[str, str]

#: Rows on one page.
PAGE = 1000
MAX_FILTERS = 20
_FILTER = re.compile(r"(grep|eq|ne|gt|gte|lt|lte)\[(\w+)\]", re.ASCII)
_COUNTS = ("page", "limit", "offset", "sample")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows, of those ordered from the newest. limit: None = all of them."""

    filters: tuple[Callable[[Row], bool], ...] = ()
    offset: int = 0
    limit: int | None = None
    sample: int = 1

    @classmethod
    def of(cls, query: Mapping[str, Any], fields: Collection[str]) -> Wanted:
        """As the parameters say. Raises HttpError 400."""
        found = {name: _whole(name, query[name]) for name in _COUNTS if name in query}
        filters = [
            _filter(match[1], match[2], text, fields)
            for name, text in query.items()
            if (match := _FILTER.fullmatch(name))
        ]
        if len(filters) > MAX_FILTERS:
            raise HttpError(400, f"{len(filters)} filters; at most {MAX_FILTERS} are taken")
        if "timezone" in query:
            raise HttpError(400, "timezone: times are told in UTC only")
        offset, limit = found.get("offset", 0), found.get("limit")
        if "page" in found:
            offset += (max(found["page"], 1) - 1) * PAGE
            limit = min(PAGE, limit) if limit is not None else PAGE
        return cls(tuple(filters), offset, limit, max(found.get("sample", 1), 1))

    def only_latest(self) -> Wanted:
        """Only the first of them."""
        return replace(self, offset=0, limit=1, sample=1)


class Chooser:
    """Chooses rows as they are read. done: whether no further one is wanted."""

    def __init__(self, wanted: Wanted):
        self._wanted, self._seen = wanted, 0
        self.done = wanted.limit == 0

    def __call__(self, rows: Iterable[Row]) -> Iterator[Any]:
        """Those of the next rows that are wanted."""
        wanted = self._wanted
        for row in rows:
            if self.done:
                return
            if not all(one(row) for one in wanted.filters):
                continue
            at = self._seen - wanted.offset
            self._seen += 1
            if at >= 0 and at % wanted.sample == 0:
                yield row
            self.done = wanted.limit is not None and at + 1 >= wanted.limit


def _whole(name: str, text: Any) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise HttpError(400, f"{name}: expected a whole number; got {str(text)[:40]!r}")
    return int(text)


def _filter(operator: str, field: str, text: Any, fields: Collection[str]) -> Callable[[Row], bool]:
    """A test of rows. Raises HttpError 400."""
    if field not in fields:
        raise HttpError(400, f"invalid field: {field[:80]}")
    if not isinstance(text, str):
        raise HttpError(400, f"{operator}[{field}]: expected one value; got {len(text)}")
    if operator == "grep":
        return _grep(field, text)
    read = _time if field == TIMESTAMP else _number
    operand = read(text)
    if operator in ("eq", "ne"):

        def equals(row: Row) -> bool:
            found = read(row.get(field, ""))
            same = row.get(field, "") == text if found is None or operand is None else found == operand
            return same == (operator == "eq")

        return equals
    compare = _COMPARE[operator]

    def holds(row: Row) -> bool:
        found = read(row.get(field, ""))
        return found is not None and operand is not None and compare(found, operand)

    return holds


def _grep(field: str, pattern: str) -> Callable[[Row], bool]:
    try:
        matches = compile_full_match(f".*(?:{pattern}).*")
    except AlmenaraError as error:
        raise HttpError(400, f"grep: {error}") from error
    return lambda row: matches(row.get(field, ""))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _time(text: str) -> float | None:
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        return None
