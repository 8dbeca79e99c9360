r"""Perfdata files of Nagios and its family: a line for each result of a check, as a template of Nagios writes it.

Sources: https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/configmain.html
and https://docs.pnp4nagios.org/pnp-0.6/config#bulk_mode. Lines of pnp4nagios are `KEY::value` parted by tabs and begin
with `DATATYPE::`; those of Nagios' own templates begin with `[SERVICEPERFDATA]` or `[HOSTPERFDATA]`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping

from almenara.codecs._bounds import check_count
from almenara.codecs._nagios_rows import NagiosRows
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, SeriesTable, encode_key
from almenara.model.time import EARLIEST_NS, LATEST_NS, NS
from almenara.plugin.contracts import Context

#: What Nagios writes where nothing else is set.
SERVICE_TEMPLATE = (
    r"[SERVICEPERFDATA]\t$TIMET$\t$HOSTNAME$\t$SERVICEDESC$\t$SERVICEEXECUTIONTIME$\t$SERVICELATENCY$"
    r"\t$SERVICEOUTPUT$\t$SERVICEPERFDATA$"
)
HOST_TEMPLATE = r"[HOSTPERFDATA]\t$TIMET$\t$HOSTNAME$\t$HOSTEXECUTIONTIME$\t$HOSTOUTPUT$\t$HOSTPERFDATA$"

_MAX_SERIES = 200_000
_STATES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3, "UP": 0, "DOWN": 1, "UNREACHABLE": 2}
_TIME = re.compile(r"(\d{1,10})(?:\.(\d{1,9})\d*)?")
_KEY = re.compile(r"([A-Z]+)::")
_OWN = "DATATYPE::ALMENARA\tROW::"


class NagiosPerfdata:
    """Perfdata files of Nagios, Naemon and Icinga: lines of the default templates, of pnp4nagios, or of your own.

    Series: `nagios_perfdata{host, service, label}` in seconds, bytes or per cent, with `_warn`, `_crit`, `_min` and
    `_max`; where the template has them also `nagios_check_state{host, service}` (0 OK, 1 warning, 2 critical,
    3 unknown), `nagios_host_state{host}` (0 up, 1 down, 2 unreachable), and `nagios_check_execution_seconds` and
    `nagios_check_latency_seconds`.

    Rejected by name: `bad_line`, `bad_time`, `bad_state`, `no_host`, `bad_perfdata`, `key_too_long`.

    Options:
        template: A template of yours as it stands in nagios.cfg, of fields parted by `\\t`; it reads the lines that do
            not begin as those of Nagios or pnp4nagios do.
    """

    def __init__(self, *, template: str = "") -> None:
        self._templates = [Template(text) for text in (SERVICE_TEMPLATE, HOST_TEMPLATE, template) if text]
        self._table = SeriesTable()

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all lines; DecodeError where there is none that can be read."""
        if len(self._table) > _MAX_SERIES:
            self._table = SeriesTable()
        check_count(payload, b"\n")
        rows, readable = NagiosRows(self._table), not payload.strip()
        for number, line in enumerate(payload.split(b"\n"), 1):
            if line.strip():
                readable |= self._read(f"line {number}", line.rstrip(b"\r").decode(errors="replace"), rows)
        if not readable:
            first = rows.rejected[0]
            raise DecodeError(f"no line can be read; {first.where}: {first.detail}")
        return rows.decoded()

    def _read(self, where: str, line: str, rows: NagiosRows) -> bool:
        """Take a line; False where it is none of ours."""
        if line.startswith(_OWN):
            return _read_own(where, line[len(_OWN) :], rows)
        if line.startswith("DATATYPE::"):
            return _take(where, _pnp_fields(line), rows)
        for template in self._templates:
            if (fields := template.fields(line)) is not None:
                return _take(where, fields, rows)
        detail = f"found {line[:40]!r}, expected DATATYPE::, [SERVICEPERFDATA], [HOSTPERFDATA] or your template"
        rows.reject(where, "bad_line", detail)
        return False

    def encode(self, batch: Batch) -> bytes:
        """A line a row, of a kind that `decode` knows again: Nagios has no place for any series. Left out: NaN."""
        lines = []
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            series = batch.series[int(id)]
            row = {"name": series.name, "labels": dict(series.labels), "time_ns": int(time), "value": float(value)}
            if math.isfinite(value):
                lines.append(f"{_OWN}{json.dumps(row)}\n")
        return "".join(lines).encode()


class Template:
    """Reads lines that a template of Nagios wrote: macros such as `$HOSTNAME$` and plain text, parted by tabs."""

    def __init__(self, text: str) -> None:
        self._parts = text.replace("\\t", "\t").split("\t")
        macros = [part.strip("$") if re.fullmatch(r"\$[A-Z]+\$", part) else "" for part in self._parts]
        if not {"HOSTNAME"} < set(macros):
            raise ValueError(f"template must have fields such as $HOSTNAME$, parted by \\t; got {text[:80]!r}")
        self._macros = macros
        # A plugin may write a tab; then its text has become several fields.
        self._long = next((at for at, macro in enumerate(macros) if macro.endswith("OUTPUT")), len(macros) - 1)

    def fields(self, line: str) -> dict[str, str] | None:
        """Macro -> text; None where the line is not of this template."""
        found = line.split("\t")
        more = len(found) - len(self._parts)
        if more < 0:
            return None
        found[self._long : self._long + more + 1] = ["\t".join(found[self._long : self._long + more + 1])]
        plain = (at for at, macro in enumerate(self._macros) if not macro)
        if any(found[at] != self._parts[at] for at in plain):
            return None
        return {macro: text for macro, text in zip(self._macros, found, strict=True) if macro}


def _pnp_fields(line: str) -> dict[str, str]:
    """Key -> text of a line of pnp4nagios; what follows a tab and has no key belongs to the field before."""
    fields: dict[str, str] = {}
    key = ""
    for part in line.split("\t"):
        found = _KEY.match(part)
        if found:
            key = found[1]
            fields[key] = part[found.end() :]
        elif key:
            fields[key] += "\t" + part
    return fields


def _take(where: str, fields: Mapping[str, str], rows: NagiosRows) -> bool:
    """Rows of the fields of one line; False where they are not those of a result."""
    host, service = fields.get("HOSTNAME", ""), fields.get("SERVICEDESC", "")
    text = next((fields[key] for key in _times(service) if key in fields), "")
    time = _time_ns(text)
    if not host:
        rows.reject(where, "no_host", "found no name of a host")
        return False
    if time is None:
        rows.reject(where, "bad_time", f"found {text[:40]!r}, expected seconds since 1970")
        return False
    labels = {"host": host} | ({"service": service} if service else {})
    kind = "SERVICE" if service else "HOST"
    for key in (f"{kind}STATE", f"{kind}STATEID"):
        if key in fields:
            _take_state(where, labels, fields[key], time, rows)
            break
    for what, key in (("execution", f"{kind}EXECUTIONTIME"), ("latency", f"{kind}LATENCY")):
        if re.fullmatch(r"\d{1,9}(?:\.\d+)?", seconds := fields.get(key, "")):
            rows.add_seconds(where, what, labels, float(seconds), time)
    rows.add_perfdata(where, labels, fields.get(f"{kind}PERFDATA", ""), time)
    return True


def _times(service: str) -> Iterator[str]:
    yield "TIMET"
    yield "LASTSERVICECHECK" if service else "LASTHOSTCHECK"


def _take_state(where: str, labels: dict[str, str], text: str, time: int, rows: NagiosRows) -> None:
    state = int(text) if text in ("0", "1", "2", "3") else _STATES.get(text.upper())
    if state is None:
        rows.reject(where, "bad_state", f"found {text[:40]!r}, expected one such as OK, WARNING or 2")
    else:
        rows.add_state(where, labels, state, time)


def _time_ns(text: str) -> int | None:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    time = int(found[1]) * NS + int((found[2] or "0").ljust(9, "0"))
    return time if EARLIEST_NS <= time <= LATEST_NS else None


def _read_own(where: str, text: str, rows: NagiosRows) -> bool:
    """Take a row as `encode` writes it."""
    try:
        row = json.loads(text)
        labels = [(str(k), str(v)) for k, v in row["labels"].items()]
        key, time, value = encode_key(str(row["name"]), labels), int(row["time_ns"]), float(row["value"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        rows.reject(where, "bad_line", f"found {text[:40]!r}, expected a row as JSON")
        return False
    damaged = not math.isfinite(value) or not -(2**63) <= time < 2**63 or not key
    if damaged or len(key) > MAX_KEY_BYTES:
        rows.reject(where, "bad_line", f"found {text[:40]!r}, expected a finite value and a series")
        return False
    rows.add_row(key, time, value)
    return True
