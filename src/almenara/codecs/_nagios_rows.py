"""Results of Nagios checks as rows: the state of host or service, and a series for each figure of its perfdata.

nagios_check_state{host, service}               0 OK, 1 warning, 2 critical, 3 unknown
nagios_host_state{host}                         0 up, 1 down, 2 unreachable
nagios_perfdata{host, service, label}           in base units: seconds, bytes, per cent; the unit is metadata
nagios_perfdata_warn, _crit                     upper threshold; ..._low: lower threshold, where one is stated
nagios_perfdata_min, _max                       where the plugin states them
nagios_check_execution_seconds, _latency_seconds{host, service}   where the template has them

Thresholds of a range that is bad inside (`@10:20`) have the label range="inside".
"""

from __future__ import annotations

import math
from array import array
from collections import Counter

from almenara.codecs._perfdata import BadPerf, Perf, Threshold, parse_perfdata
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.series import MAX_KEY_BYTES, Metadata, SeriesTable, encode_key

#: Rejected pieces that are told one by one; of more of a reason only how many there were.
_LISTED = 100

#: (end of the name, value, further labels)
Limit = tuple[str, float, dict[str, str]]

CHECK_STATE = Metadata("", "state", "State of a check: 0 OK, 1 warning, 2 critical, 3 unknown")
HOST_STATE = Metadata("", "state", "State of a host: 0 up, 1 down, 2 unreachable")


class NagiosRows:
    """Gathers rows, metadata and rejections of one payload over a table of series."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self._ids, self._times, self._values = array("i"), array("q"), array("d")
        self._metadata: dict[bytes, Metadata] = {}
        self.rejected: list[Rejected] = []
        self._more: Counter[str] = Counter()

    def add_check(self, where: str, host: str, service: str, state: int, output: str, time: int) -> None:
        """One result; `output` is the plugin's text, perfdata behind its `|`s included. time in ns."""
        labels = {"host": host} | ({"service": service} if service else {})
        self.add_state(where, labels, state, time)
        self.add_perfdata(where, labels, perfdata_of(output), time)

    def add_state(self, where: str, labels: dict[str, str], state: int, time: int) -> None:
        """The state of a service, or of a host where the labels name no service."""
        service = "service" in labels
        name, about = ("nagios_check_state", CHECK_STATE) if service else ("nagios_host_state", HOST_STATE)
        self._add(where, name, labels, time, float(state), about)

    def add_seconds(self, where: str, what: str, labels: dict[str, str], seconds: float, time: int) -> None:
        """What running the check took: `execution` or `latency`."""
        about = Metadata("s", "gauge", f"{what.capitalize()} time of a Nagios check")
        self._add(where, f"nagios_check_{what}_seconds", labels, time, seconds, about)

    def add_perfdata(self, where: str, labels: dict[str, str], perfdata: str, time: int) -> None:
        """Each figure of a perfdata text, with `labels` (host and service)."""
        for perf in parse_perfdata(perfdata):
            if isinstance(perf, BadPerf):
                self.reject(where, "bad_perfdata", f"found {perf.text!r}, expected label=value")
            else:
                self._add_perf(where, {**labels, "label": perf.label}, perf, time)

    def _add_perf(self, where: str, labels: dict[str, str], perf: Perf, time: int) -> None:
        about = Metadata(perf.unit, "counter" if perf.is_counter else "gauge", "Perfdata of a Nagios check")
        self._add(where, "nagios_perfdata", labels, time, perf.value, about)
        about = Metadata(perf.unit, "gauge", "")
        limits: list[Limit] = [("min", perf.min, {}), ("max", perf.max, {})]
        for kind, value, more in (*limits, *_bounds("warn", perf.warn), *_bounds("crit", perf.crit)):
            if math.isfinite(value):
                self._add(where, f"nagios_perfdata_{kind}", labels | more, time, value, about)

    def _add(self, where: str, name: str, labels: dict[str, str], time: int, value: float, about: Metadata) -> None:
        key = encode_key(name, labels)
        if len(key) > MAX_KEY_BYTES:
            self.reject(where, "key_too_long", f"found a key of {len(key)} bytes")
            return
        self.add_row(key, time, value)
        self._metadata[key] = about

    def reject(self, where: str, reason: str, detail: str) -> None:
        """Leave a piece out, and say why."""
        if len(self.rejected) < _LISTED:
            self.rejected.append(Rejected(where, reason, 1, detail))
        else:
            self._more[reason] += 1

    def add_row(self, key: bytes, time: int, value: float) -> None:
        """One row as it is."""
        self._ids.append(self._table.intern(key))
        self._times.append(time)
        self._values.append(value)

    def decoded(self) -> Decoded:
        """All of them."""
        batch = Batch(self._table, self._ids, self._times, self._values)
        more = [Rejected("further on", reason, rows) for reason, rows in self._more.items()]
        return Decoded(batch, rejected=[*self.rejected, *more], metadata=self._metadata)

    def __len__(self) -> int:
        return len(self._ids)


def perfdata_of(output: str) -> str:
    """The perfdata in a plugin's output: what follows `|` on its first line, and on later lines after another `|`."""
    first, _, long = output.partition("\n")
    return f"{first.partition('|')[2]} {long.partition('|')[2]}".strip()


def _bounds(kind: str, threshold: Threshold | None) -> list[Limit]:
    """The ends of a range."""
    if threshold is None:
        return []
    if threshold.inside:
        more = {"range": "inside"}
        return [(kind, threshold.upper, more), (f"{kind}_low", threshold.lower, more)]
    # A lower bound of 0 is what a plain number implies; a line at 0 would tell nobody anything.
    return [(kind, threshold.upper, {}), (f"{kind}_low", threshold.lower or math.inf, {})]
