r"""The log of Nagios, Naemon or Icinga 1 and its archives: who was notified of what, and how the checks went.

Lines are `[seconds] KIND: a;b;c`. Source: https://github.com/NagiosEnterprises/nagioscore, base/logging.c,
base/notifications.c (NOTIFICATION), base/checks.c (ALERT), base/flapping.c. A notification to several contacts is a
line each.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from almenara.model.errors import DecodeError
from almenara.model.time import NS

_LINE = re.compile(r"\[(\d{9,11})\] ([A-Z][A-Z ]+): (.*)")
_STATES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3, "UP": 0, "DOWN": 1, "UNREACHABLE": 2}
_ACKNOWLEDGED = re.compile(r"ACKNOWLEDGE_(HOST|SVC)_PROBLEM")
_MOST_LINE = 100_000


@dataclass(frozen=True, slots=True)
class Told:
    """One notification: to whom, of which check (service empty: the host itself), of what, and the plugin's words."""

    time: int
    contact: str
    host: str
    service: str
    kind: str  # PROBLEM, RECOVERY, or as the log has it: FLAPPINGSTART, ACKNOWLEDGEMENT, DOWNTIMESTART, ...
    state: str
    output: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A check changed its state, or was said to have one when the log was begun. is_hard: after all its retries."""

    time: int
    host: str
    service: str
    state: int  # 0 OK or up, else worse
    is_hard: bool
    output: str


@dataclass(slots=True)
class NagiosLog:
    """All that is used of one or more logs, in the order of time, in ns. lines: in all; unread: not understood."""

    told: list[Told] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    flapping: int = 0  # how often a check was said to begin to flap
    acknowledged: set[tuple[str, str, int]] = field(default_factory=set)  # (host, service, time)
    first: int = 0
    last: int = 0
    lines: int = 0
    unread: int = 0


def read_logs(paths: Iterable[Path]) -> NagiosLog:
    """What stands in these files, `.gz` among them. A line that is in two of them counts once. Raises OSError;
    DecodeError where a file is no log of Nagios."""
    found, seen = NagiosLog(), set[str]()
    for path in paths:
        before, lines = found.lines - found.unread, 0
        for line in _lines(path):
            lines += 1
            _read(found, line, seen)
        if lines and found.lines - found.unread == before:
            raise DecodeError(f"{path}: found no line such as [1700000000] SERVICE ALERT: ..., expected a nagios.log")
    found.told.sort(key=lambda one: one.time)
    found.checked.sort(key=lambda one: one.time)
    return found


def _lines(path: Path) -> Iterator[str]:
    open_it = gzip.open if path.suffix == ".gz" else open
    with open_it(path, "rt", encoding="utf-8", errors="replace") as file:
        while line := file.readline(_MOST_LINE):
            yield line.rstrip("\r\n")


def _read(found: NagiosLog, line: str, seen: set[str]) -> None:
    found.lines += 1
    match = _LINE.match(line)
    if match is None:
        found.unread += not line.startswith("[")  # others are said by plugins of Nagios, without a kind
        return
    time, kind, rest = int(match[1]) * NS, match[2], match[3].split(";")
    found.first = min(found.first or time, time)
    found.last = max(found.last, time)
    if "NOTIFICATION" in kind or kind.endswith((" ALERT", " STATE")):
        if line in seen:
            return
        seen.add(line)
    try:
        _take(found, time, kind, rest)
    except (LookupError, ValueError):
        found.unread += 1


def _take(found: NagiosLog, time: int, kind: str, rest: list[str]) -> None:
    if kind == "SERVICE NOTIFICATION":
        contact, host, service, said, _, *output = rest
        found.told.append(Told(time, contact, host, service, *_kind(said), ";".join(output)))
    elif kind == "HOST NOTIFICATION":
        contact, host, said, _, *output = rest
        found.told.append(Told(time, contact, host, "", *_kind(said), ";".join(output)))
    elif kind in ("SERVICE ALERT", "CURRENT SERVICE STATE", "INITIAL SERVICE STATE"):
        host, service, state, how, _, *output = rest
        found.checked.append(Checked(time, host, service, _STATES[state], how == "HARD", ";".join(output)))
    elif kind in ("HOST ALERT", "CURRENT HOST STATE", "INITIAL HOST STATE"):
        host, state, how, _, *output = rest
        found.checked.append(Checked(time, host, "", _STATES[state], how == "HARD", ";".join(output)))
    elif kind in ("SERVICE FLAPPING ALERT", "HOST FLAPPING ALERT"):
        found.flapping += "STARTED" in rest
    elif kind == "EXTERNAL COMMAND" and _ACKNOWLEDGED.fullmatch(rest[0]):
        found.acknowledged.add((rest[1], rest[2] if "SVC" in rest[0] else "", time))


def _kind(said: str) -> tuple[str, str]:
    """`CRITICAL` or `FLAPPINGSTART (CRITICAL)` as (kind, state)."""
    name, _, state = said.partition(" (")
    if state:
        return name, state.rstrip(")")
    return ("RECOVERY" if _STATES.get(name, 1) == 0 else "PROBLEM"), name
