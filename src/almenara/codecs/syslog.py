"""Syslog messages as events: RFC 5424, and the older BSD form of RFC 3164 with all that senders make of it.

Standards: https://www.rfc-editor.org/rfc/rfc5424, https://www.rfc-editor.org/rfc/rfc3164; several in one payload are
framed as in https://www.rfc-editor.org/rfc/rfc6587: by their length in front, or by newlines.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from almenara.codecs._bounds import check_count
from almenara.model.batch import Batch, Decoded, Event, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, SeriesTable, encode_key, label_name
from almenara.model.time import NS, ns_from_datetime, ns_from_iso
from almenara.plugin.contracts import Context
from almenara.plugin.options import Must

FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", *(f"local{n}" for n in range(8)),
)  # fmt: skip
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

#: A message as `encode` writes it: a row in structured data. 32473 is the number for examples (RFC 5612).
ROW_ID = "row@32473"

_PRI = re.compile(rb"<(\d{1,3})>")
_NEW = re.compile(r"1 (\S+) (\S+) (\S+) (\S+) (\S+) ?")
_OLD = re.compile(r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:([^\s:\[]+) )?")
_OLD_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\S+) (?:([^\s:\[]+) )?")
_TAG = re.compile(r"([\w./@-]{1,64})(?:\[([^\]\s]{1,32})\])?: ?")
_ELEMENT = r'\[([^\s=\]"]{1,64})((?: [^\s=\]"]{1,64}="(?:[^"\\\]]|\\.)*")*)\]'
_ELEMENTS = re.compile(f"(?:{_ELEMENT})+", re.DOTALL)
_ONE_ELEMENT = re.compile(_ELEMENT, re.DOTALL)
_PARAMETER = re.compile(r' ([^\s=\]"]+)="((?:[^"\\\]]|\\.)*)"', re.DOTALL)
_COUNT = re.compile(rb"(\d{1,7}) (?=<)")
_SHOWN = 20
_MAX_SERIES = 200_000


def _is_zone(text: str) -> bool:
    return not text or text in available_timezones()


class Syslog:
    """Syslog, RFC 5424 and RFC 3164: each message an event with labels facility, severity, host, app, pid, msgid.

    Parameters of structured data are labels of their own names, with the element's name in front where one is taken.
    Messages of RFC 3164 say neither year nor zone: they get the time of receipt, unless `timezone` says how to read
    theirs. Rejected by name: `bad_message`.

    Options:
        timezone: Zone in which RFC 3164 messages are written, such as "Europe/Madrid"; empty: the time of receipt.
        max_text_bytes: What is longer of a text is cut off.
    """

    def __init__(
        self,
        *,
        timezone: Annotated[str, Must('the name of a time zone, such as "Europe/Madrid"', _is_zone)] = "",
        max_text_bytes: int = 65_536,
    ):
        self._zone = ZoneInfo(timezone) if timezone else None
        self._most = max_text_bytes
        self._table = SeriesTable()

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Events of all messages; DecodeError where there are messages and none can be read."""
        if len(self._table) > _MAX_SERIES:
            self._table = SeriesTable()
        check_count(payload, b"\n", b"<")
        events: list[Event] = []
        rows = array("i"), array("q"), array("d")
        rejected: list[Rejected] = []
        bad = 0
        for number, message in enumerate(messages(payload), 1):
            try:
                self._read(message, context.received_ns, events, rows)
            except ValueError as error:
                bad += 1
                if len(rejected) < _SHOWN:
                    rejected.append(Rejected(f"message {number}", "bad_message", 1, str(error)[:80]))
        if bad and not events and not rows[0]:
            raise DecodeError(f"no message can be read as syslog; {rejected[0].where}: {rejected[0].detail}")
        if bad > len(rejected):
            rejected.append(Rejected("more messages", "bad_message", bad - len(rejected)))
        return Decoded(Batch(self._table, *rows), events, rejected)

    def _read(self, message: bytes, received_ns: int, events: list[Event], rows: tuple[array, ...]) -> None:
        found = _PRI.match(message)
        if found is None or int(found[1]) > 191:
            start = message[:24].decode(errors="replace")
            raise ValueError(f"found {start!r}, expected <0> to <191> and a message")
        facility, severity = divmod(int(found[1]), 8)
        labels = {"facility": FACILITIES[facility], "severity": SEVERITIES[severity]}
        text = message[found.end() :].decode(errors="replace")
        new = _NEW.match(text)
        row = None
        if new:
            time, text, row = self._new(new, text, received_ns, labels)
        else:
            time, text = self._old(text, received_ns, labels)
        if row is not None:
            for column, value in zip(rows, (self._table.intern(row[0]), row[1], row[2]), strict=True):
                column.append(value)
            return
        text = text.rstrip("\0\r\n ")
        if len(text) * 4 > self._most:
            text = text.encode()[: self._most].decode(errors="ignore")
        kept = sorted(pair for pair in labels.items() if pair[1])
        events.append(Event(time, tuple(kept[:MAX_LABELS]), text))

    def _new(
        self, found: re.Match[str], text: str, received_ns: int, labels: dict[str, str]
    ) -> tuple[int, str, tuple[bytes, int, float] | None]:
        """(time, text, the row in it or None) of a message of RFC 5424."""
        when, *header = found.groups()
        labels |= {k: v for k, v in zip(("host", "app", "pid", "msgid"), header, strict=True) if v != "-"}
        pos, own = found.end(), {}
        if text.startswith("-", pos):
            pos += 1
        elif data := _ELEMENTS.match(text, pos):
            pos = data.end()
            for id, name, value in (_parameters if len(data[0]) < 512 else _read_parameters)(data[0]):
                if id == ROW_ID:
                    own[name] = value
                else:
                    labels[name if name not in labels else label_name(f"{id}_{name}")] = value
        text = text[pos:].removeprefix(" ").removeprefix("\ufeff")
        return (received_ns if when == "-" else ns_from_iso(when)), text, _row(own) if own else None

    def _old(self, text: str, received_ns: int, labels: dict[str, str]) -> tuple[int, str]:
        """(time, text) of a message of RFC 3164, or of one that says nothing but its text."""
        time, found = received_ns, _OLD.match(text)
        if found:
            time = self._old_time(found[1], received_ns)
        elif found := _OLD_ISO.match(text):
            time = ns_from_iso(found[1])
        if found:
            text = text[found.end() :]
            labels["host"] = found[2] or ""
        if tag := _TAG.match(text):
            labels |= {"app": tag[1], "pid": tag[2] or ""}
            text = text[tag.end() :]
        return time, text

    def _old_time(self, text: str, received_ns: int) -> int:
        """In the year that brings it nearest to the time of receipt."""
        if self._zone is None:
            return received_ns
        year, best = datetime.fromtimestamp(received_ns / NS, UTC).year, None
        for candidate in (year - 1, year, year + 1):
            try:
                moment = datetime.strptime(f"{candidate} {text}", "%Y %b %d %H:%M:%S").replace(tzinfo=self._zone)
            except ValueError:  # 29 February in another year, or no date at all
                continue
            time = ns_from_datetime(moment)
            if best is None or abs(time - received_ns) < abs(best - received_ns):
                best = time
        return received_ns if best is None else best

    def encode(self, batch: Batch) -> bytes:
        """A message of RFC 5424 a row, with the series in structured data, framed by its length. Left out: rows that
        are not finite."""
        found = []
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            if math.isfinite(value):
                series = batch.series[int(id)]
                pairs = [("name", series.name), ("time_ns", str(time)), ("value", repr(float(value)))]
                pairs += [(f"label.{k}", v) for k, v in series.labels]
                message = f"<134>1 - - almenara - - [{ROW_ID}{''.join(map(_written, pairs))}]".encode()
                found.append(b"%d %b" % (len(message), message))
        return b"".join(found)


def _read_parameters(data: str) -> tuple[tuple[str, str, str], ...]:
    """(element, label, value) of every parameter of structured data; names of `ROW_ID` stay as they are."""
    return tuple(
        (id, name if id == ROW_ID else label_name(name), re.sub(r'\\(["\\\]])', r"\1", raw))
        for id, parameters in _ONE_ELEMENT.findall(data)
        for name, raw in _PARAMETER.findall(parameters)
    )


#: A sender says the same with every message.
_parameters = lru_cache(maxsize=1024)(_read_parameters)


def _row(own: dict[str, str]) -> tuple[bytes, int, float] | None:
    """(key, time, value) of a message that `encode` wrote, else None."""
    if not {"name", "time_ns", "value"} <= own.keys():
        return None
    pairs = [(k.removeprefix("label."), v) for k, v in own.items() if k.startswith("label.")]
    key, time, value = encode_key(own["name"], pairs), int(own["time_ns"]), float(own["value"])
    if not math.isfinite(value) or not -(2**63) <= time < 2**63 or len(key) > MAX_KEY_BYTES or len(pairs) > MAX_LABELS:
        raise ValueError("found a row that is not finite or too large")
    return key, time, value


def _written(pair: tuple[str, str]) -> str:
    value = re.sub(r'(["\\\]])', r"\\\1", pair[1])
    return f' {pair[0]}="{value}"'


def messages(payload: bytes) -> Iterator[bytes]:
    """Each message: by the length in front of it (`123 <13>...`), else up to the end of its line."""
    pos = 0
    while pos < len(payload):
        if (counted := _COUNT.match(payload, pos)) and counted.end() + int(counted[1]) <= len(payload):
            pos = counted.end() + int(counted[1])
            yield payload[counted.end() : pos]
            continue
        end = payload.find(b"\n", pos)
        end = len(payload) if end < 0 else end
        if line := payload[pos:end].strip(b"\r\0 "):
            yield line
        pos = end + 1
