"""Protocol Buffers on the wire, in plain Python: reading the fields of one message, and writing them.

For what is small or seen once; volume is read by the compiled walker of `almenara.codecs._protobuf`. An agent writes
with this, so it needs no numpy. Standard: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_DOUBLE, _FIXED64, _FIXED32 = struct.Struct("<d"), struct.Struct("<Q"), struct.Struct("<I")
_FLOAT = struct.Struct("<f")


class Damaged(ValueError):
    """Bytes that are no protobuf message. `at`: the offset in what was given."""

    def __init__(self, at: int):
        self.at = at
        super().__init__(f"damaged at byte {at}")


def fields(payload: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of each field: an unsigned int, or the bytes of a string or message. Raises Damaged.

    Numbers of fixed width are ints of their bits, see `double_of` and `float_of`. Groups are taken as damage.
    """
    pos, end = 0, len(payload)
    while pos < end:
        at, tag = pos, payload[pos]  # one byte is the usual case, and a call for it would double the time
        pos += 1
        if tag > 127:
            tag, pos = read_varint(payload, at)
        wire = tag & 7
        if wire == BYTES:
            size = payload[pos] if pos < end else 128
            pos += 1
            if size > 127:
                size, pos = read_varint(payload, pos - 1)
            if size > end - pos:
                raise Damaged(at)
            yield tag >> 3, wire, payload[pos : pos + size]
            pos += size
        elif wire == VARINT:
            value, pos = read_varint(payload, pos)
            yield tag >> 3, wire, value
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
            if size > end - pos:
                raise Damaged(at)
            yield tag >> 3, wire, int.from_bytes(payload[pos : pos + size], "little")
            pos += size
        else:
            raise Damaged(at)


def read_varint(payload: bytes, pos: int) -> tuple[int, int]:
    """(value of 64 bits, next position). Raises Damaged."""
    value, start = 0, pos
    for shift in range(0, 70, 7):
        if pos >= len(payload):
            break
        byte = payload[pos]
        pos += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, pos
    raise Damaged(start)


def double_of(bits: int) -> float:
    """The double with these 64 bits."""
    return float(_DOUBLE.unpack(_FIXED64.pack(bits))[0])


def float_of(bits: int) -> float:
    """The float with these 32 bits, as a Python float."""
    return float(_FLOAT.unpack(_FIXED32.pack(bits))[0])


def signed(value: int, bits: int = 64) -> int:
    """The number whose two's complement of so many bits these are; higher bits do not count."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def varint(value: int) -> bytes:
    """An unsigned number, or a negative one as 64 bits of two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(n: int, value: int) -> bytes:
    """A field of wire type varint."""
    return varint(n << 3) + varint(value)


def text(n: int, value: bytes) -> bytes:
    """A field that holds a string, bytes, a message or a packed list."""
    return varint(n << 3 | BYTES) + varint(len(value)) + value


def double(n: int, value: float) -> bytes:
    """A field of type double."""
    return varint(n << 3 | FIXED64) + _DOUBLE.pack(value)


def fixed64(n: int, value: int) -> bytes:
    """A field of type fixed64 or sfixed64."""
    return varint(n << 3 | FIXED64) + _FIXED64.pack(value & 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Shape:
    """What `canonical` has to know of a message: its fields that are messages, those that may occur only once, those
    that come first, and lists of fixed64 or double, which may come packed or one by one."""

    messages: Mapping[int, Shape] = field(default_factory=dict)
    once: frozenset[int] = frozenset()
    first: tuple[int, ...] = ()
    packed: frozenset[int] = frozenset()


def canonical(payload: bytes, shape: Shape) -> bytes:
    """The same message with its fields in order and lists packed: what nearly all senders write anyway.

    Fields may come in any order, and parts of one message may even come apart; the compiled walkers hold with the usual
    order and hand everything else to this. Raises Damaged.
    """
    found: dict[int, list[bytes]] = {}
    for n, wire, value in fields(payload):
        if isinstance(value, int):
            raw = varint(value) if wire == VARINT else value.to_bytes(8 if wire == FIXED64 else 4, "little")
        else:
            raw = value
        if (n in shape.packed and wire in (FIXED64, BYTES)) or (n in shape.messages and wire == BYTES):
            found.setdefault(n, []).append(raw)
        else:
            head = varint(n << 3 | wire) + (varint(len(raw)) if wire == BYTES else b"")
            found.setdefault(n, []).append(head + raw)
    order = sorted(found, key=lambda n: (shape.first.index(n) if n in shape.first else len(shape.first), n))
    return b"".join(_written(n, found[n], shape) for n in order)


def _written(n: int, parts: list[bytes], shape: Shape) -> bytes:
    if n in shape.packed:
        return text(n, b"".join(parts))
    if n not in shape.messages:
        return b"".join(parts)
    if n in shape.once:
        parts = [b"".join(parts)]  # parts of one message are joined by joining their bytes
    return b"".join(text(n, canonical(part, shape.messages[n])) for part in parts)
