"""collectd's binary protocol, part by part: what its plugin `network` sends in each datagram.

Protocol: https://collectd.org/wiki/index.php/Binary_protocol
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

HOST, TIME, PLUGIN, PLUGIN_INSTANCE, TYPE, TYPE_INSTANCE, VALUES = 0, 1, 2, 3, 4, 5, 6
TIME_HR, INTERVAL, INTERVAL_HR = 8, 7, 9
MESSAGE, SEVERITY, SIGNATURE, ENCRYPTION = 0x100, 0x101, 0x200, 0x210

#: Where in `Name` each text stands.
_TEXTS = {HOST: 0, PLUGIN: 1, PLUGIN_INSTANCE: 2, TYPE: 3, TYPE_INSTANCE: 4}
#: Kinds of values by their number on the wire.
KINDS = ("counter", "gauge", "derive", "absolute")
_FORMATS = (struct.Struct(">Q"), struct.Struct("<d"), struct.Struct(">q"), struct.Struct(">Q"))
_SEVERITIES = {1: "failure", 2: "warning", 4: "okay"}
_NS = 1_000_000_000


class Name(NamedTuple):
    """What a list of values is of."""

    host: str = ""
    plugin: str = ""
    plugin_instance: str = ""
    type: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """One list of values. time in ns, 0 where nothing was said of it; kinds: those of `KINDS`; names: empty where the
    protocol does not carry them."""

    name: Name
    time: int
    kinds: tuple[str, ...]
    values: tuple[float, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notification:
    """A message of collectd's thresholds and plugins."""

    name: Name
    time: int
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class Left:
    """A part that is left out, and why. reason: a fixed word."""

    at: int
    reason: str
    detail: str


@dataclass(slots=True)
class _State:
    texts: list[str] = field(default_factory=lambda: [""] * 5)
    time: int = 0
    severity: str = ""
    signed: bool = False

    @property
    def name(self) -> Name:
        return Name(*self.texts)


def read_parts(
    payload: bytes, passwords: Mapping[str, str], must_be_signed: bool
) -> Iterator[Values | Notification | Left]:
    """Everything a datagram holds. What follows a damaged part is left out, for its place is not known."""
    at, state = 0, _State()
    while at < len(payload):
        if at + 4 > len(payload):
            yield Left(at, "bad_part", f"{len(payload) - at} bytes at the end are no part")
            return
        kind, size = struct.unpack_from(">HH", payload, at)
        if size < 5 or at + size > len(payload):
            yield Left(at, "bad_part", f"part {kind:#x} says it has {size} bytes, {len(payload) - at} are left")
            return
        body = payload[at + 4 : at + size]
        if kind == ENCRYPTION:
            yield Left(at, "encrypted", "AES-256 needs a library that is not there; set SecurityLevel to Sign")
        elif kind == SIGNATURE:
            wrong = signature_problem(body, payload[at + size :], passwords)
            if wrong and passwords:
                yield Left(at, "bad_signature", wrong)
                return
            state.signed = not wrong
        elif must_be_signed and not state.signed:
            yield Left(at, "not_signed", "only signed packets are taken")
            return
        else:
            found = _take(kind, body, state)
            if found is not None:
                yield replace(found, at=at) if isinstance(found, Left) else found
        at += size


def signature_problem(body: bytes, rest: bytes, passwords: Mapping[str, str]) -> str:
    """What is wrong with a signature (HMAC-SHA256 over user name and all that follows); empty when it is right."""
    mac, user = body[:32], body[32:]
    name = user.decode(errors="replace")
    if name not in passwords:
        return f"user {name[:40]!r} is not in the file of passwords"
    made = hmac.digest(passwords[name].encode(), user + rest, "sha256")
    return "" if hmac.compare_digest(mac, made) else f"signature of user {name[:40]!r} is wrong"


def _take(kind: int, body: bytes, state: _State) -> Values | Notification | Left | None:
    if kind in _TEXTS:
        state.texts[_TEXTS[kind]] = body.rstrip(b"\0").decode(errors="replace")
    elif kind in (TIME, TIME_HR, SEVERITY):
        if len(body) != 8:
            return Left(0, "bad_part", f"part {kind:#x} has {len(body)} bytes, expected 8")
        number = int.from_bytes(body, "big")
        if kind == SEVERITY:
            state.severity = _SEVERITIES.get(number, "")
        else:
            state.time = number * _NS if kind == TIME else number * _NS >> 30
    elif kind == VALUES:
        return _values(body, state)
    elif kind == MESSAGE:
        return Notification(state.name, state.time, state.severity, body.rstrip(b"\0").decode(errors="replace"))
    return None  # intervals, and parts of later versions


def _values(body: bytes, state: _State) -> Values | Left:
    count = int.from_bytes(body[:2], "big")
    if len(body) != 2 + 9 * count or count == 0:
        return Left(0, "bad_part", f"{len(body)} bytes for {count} values, expected {2 + 9 * count}")
    kinds = body[2 : 2 + count]
    if max(kinds) >= len(KINDS):
        return Left(0, "bad_part", f"a value of kind {max(kinds)}, expected 0 to 3")
    values = tuple([float(_FORMATS[k].unpack_from(body, 2 + count + 8 * n)[0]) for n, k in enumerate(kinds)])
    return Values(state.name, state.time, tuple([KINDS[k] for k in kinds]), values)
