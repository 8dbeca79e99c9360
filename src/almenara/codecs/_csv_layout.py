"""What the columns of a CSV file are: separator, header, and which column is the time, a value, a label or a name."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from almenara.model.errors import DecodeError
from almenara.model.series import encode_key, label_name, metric_name
from almenara.model.time import ns_from_datetime, parse_time

TIME, VALUE, LABEL, DROP, NAME, SERIES = range(6)

#: Names of columns, in lower case, that say what they are.
TIMES = ("time", "timestamp", "ts", "date", "datetime", "_time", "@timestamp", "zeit", "datum")
NAMES = ("metric", "name", "__name__", "measurement", "_field", "sensor")
SERIES_NAMES = ("series",)
VALUES = ("value", "_value", "wert")
#: Cells that say that there is no value.
MISSING = frozenset(("", "na", "n/a", "null", "none", "-", "--", "#n/a"))
MAX_COLUMNS = 10_000
_SAMPLE = 50  # rows that are looked at to tell numbers from texts
_SERIES = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*)\})?')
_PAIR = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_UNIT_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


@dataclass(frozen=True, slots=True)
class Choice:
    """The options of a codec."""

    separator: str
    decimal: str
    header: str
    columns: Sequence[str]
    time_column: str
    time_format: str
    time_unit: str
    zone: str
    value_columns: frozenset[str]
    label_columns: frozenset[str]
    drop_columns: frozenset[str]
    name_column: str
    topic_label: str


class Layout:
    """How the rows of one payload are read. roles: one a column; first: the line (from 0) where data begins."""

    def __init__(self, text_lines: Sequence[str], choice: Choice):
        self.choice = choice
        lines = [line for line in text_lines if line.strip()]
        if not lines:
            raise DecodeError("found no line")
        self.separator = choice.separator or _separator(lines[0])
        rows = list(csv.reader(lines, delimiter=self.separator))
        head = [cell.strip() for cell in rows[0]]
        if len(head) > MAX_COLUMNS:
            raise DecodeError(f"found {len(head)} columns, expected at most {MAX_COLUMNS}")
        self.comma = choice.decimal == "," or (choice.decimal == "auto" and self._has_decimal_comma(rows[1:]))
        self.has_header = choice.header == "yes" or (choice.header == "auto" and not any(map(self._is_data, head)))
        names = head if self.has_header else list(choice.columns)[: len(head)]
        self.names = names + [f"column_{n + 1}" for n in range(len(names), len(head))]
        self.roles = self._roles(rows[1:] if self.has_header else rows)
        self.values = [at for at, role in enumerate(self.roles) if role == VALUE]
        if not self.values:
            raise DecodeError(f"found no column of numbers among {', '.join(self.names)[:200]}")
        self.time_at = self.roles.index(TIME) if TIME in self.roles else -1
        self._zone = UTC if choice.zone.upper() == "UTC" else ZoneInfo(choice.zone)
        self.plain_time = not choice.time_format and self._zone is UTC

    def _has_decimal_comma(self, rows: Sequence[Sequence[str]]) -> bool:
        cells = [cell for row in rows[:_SAMPLE] for cell in row] if self.separator != "," else []
        return any(re.fullmatch(r"\s*[+-]?\d+,\d+\s*", cell) for cell in cells)

    def _is_data(self, cell: str) -> bool:
        """Whether a cell cannot be a title."""
        return bool(re.match(r"[+-]?\d{4}-\d\d-\d\d", cell)) or self.number(cell) is not None

    def number(self, cell: str) -> float | None:
        """The number in a cell, None where there is none. NaN stands for a value known to be missing."""
        cell = cell.strip()
        if self.comma:
            cell = cell.replace(".", "").replace(",", ".") if "," in cell else cell
        try:
            return float(cell) if "_" not in cell else None
        except ValueError:
            return None

    def _roles(self, rows: Sequence[Sequence[str]]) -> list[int]:
        choice, lower = self.choice, [name.lower() for name in self.names]
        wanted_time, wanted_name = choice.time_column.lower(), choice.name_column.lower()
        for given in (wanted_time, wanted_name, *map(str.lower, choice.value_columns)):
            if given and given not in lower:
                raise DecodeError(f"found no column {given!r} among {', '.join(self.names)[:200]}")
        times = [wanted_time] if wanted_time else TIMES
        time_at = next((lower.index(name) for name in times if name in lower), -1)
        if not self.has_header and not choice.columns and time_at < 0 and rows and _is_time(rows[0][0]):
            time_at = 0
        long = any(name in lower for name in VALUES)
        name_at = lower.index(wanted_name) if wanted_name else -1
        if name_at < 0 and long:
            name_at = next((lower.index(name) for name in (*SERIES_NAMES, *NAMES) if name in lower), -1)
        return [self._role(at, name, time_at, name_at, rows) for at, name in enumerate(lower)]

    def _role(self, at: int, name: str, time_at: int, name_at: int, rows: Sequence[Sequence[str]]) -> int:
        choice = self.choice
        if at == time_at:
            return TIME
        if name in choice.drop_columns:
            return DROP
        if at == name_at:
            return SERIES if name in SERIES_NAMES else NAME
        if name in choice.label_columns:
            return LABEL
        if choice.value_columns:
            return VALUE if name in choice.value_columns else (DROP if self._all_numbers(at, rows) else LABEL)
        if name_at >= 0:
            return VALUE if name in VALUES else LABEL
        return VALUE if self._all_numbers(at, rows) else LABEL

    def _all_numbers(self, at: int, rows: Sequence[Sequence[str]]) -> bool:
        cells = [row[at].strip() for row in rows[:_SAMPLE] if at < len(row)]
        cells = [cell for cell in cells if cell.lower() not in MISSING]
        return not cells or sum(self.number(cell) is not None for cell in cells) * 2 > len(cells)

    def time(self, cell: str, received_ns: int) -> int:
        """The time in a cell in ns. Raises ValueError."""
        cell, unit = cell.strip(), self.choice.time_unit
        if self.choice.time_format:
            moment = datetime.strptime(cell, self.choice.time_format)
            return ns_from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=self._zone))
        if len(cell) > 64:
            raise ValueError(f"found {cell[:20]!r}, expected a time")
        if re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", cell):
            number = int(cell) if re.fullmatch(r"[+-]?\d+", cell) else float(cell)
            found = parse_time(number) if unit == "auto" else _scaled(number, _UNIT_NS[unit])
        elif self._zone is UTC or re.search(r"(Z|[+-]\d\d:?\d\d)$", cell):
            found = parse_time(cell)
        else:
            found = ns_from_datetime(datetime.fromisoformat(cell).replace(tzinfo=self._zone))
        if not -(1 << 63) <= found < 1 << 63:
            raise ValueError("found a time past 64 bits of nanoseconds")
        return found

    def keys(self, cells: Sequence[str], topic: str) -> list[bytes]:
        """The keys of the series of a row, one a value column. Raises ValueError where a name is none."""
        name, labels = "", {self.choice.topic_label: topic} if self.choice.topic_label else {}
        for at, role in enumerate(self.roles):
            if role == LABEL:
                labels[label_name(self.names[at])] = cells[at].strip()
            elif role == NAME:
                name = cells[at].strip()
            elif role == SERIES:
                name, found = parse_series(cells[at].strip())
                labels |= found
        if not name and (NAME in self.roles or SERIES in self.roles):
            raise ValueError("found no name of a series")
        several = len(self.values) > 1
        titles = [f"{name}_{self.names[at]}" if name and several else name or self.names[at] for at in self.values]
        return [encode_key(metric_name(title), labels) for title in titles]


def _scaled(number: float, unit_ns: int) -> int:
    """A time in ns; what is no whole number is rounded to a microsecond, as `parse_time` does."""
    if isinstance(number, int) or unit_ns == 1:
        return round(number * unit_ns)
    return round(number * (unit_ns // 1000)) * 1000


def parse_series(text: str) -> tuple[str, dict[str, str]]:
    """Name and labels of `temperature{city="Mumbai"}`. Raises ValueError."""
    match = _SERIES.fullmatch(text)
    if match is None:
        raise ValueError(f'found {text[:40]!r}, expected a series such as temperature{{city="Mumbai"}}')
    return match[1], {key: re.sub(r"\\(.)", _unescaped, value) for key, value in _PAIR.findall(match[2] or "")}


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def _separator(line: str) -> str:
    """The separator that cuts a line into the most cells, outside of quotes."""
    outside = re.sub(r'"[^"]*"', "", line)
    return max("\t;,|", key=lambda mark: (outside.count(mark), mark == "\t", mark == ";"))


def _is_time(cell: str) -> bool:
    if re.match(r"\d{4}-\d\d-\d\d", cell.strip()):
        return True
    try:
        return float(cell) > 3e8 and math.isfinite(float(cell))
    except ValueError:
        return False
