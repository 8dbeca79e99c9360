"""Columns: a whole batch as it lies in memory, which `almenara import` sends and `almenara export` reads.

One message, all numbers little-endian:

    ALMC  u8 version = 1  u8 0  u16 0  u32 series  u32 bytes of keys  u32 bytes of metadata  u32 rows      24 bytes
    u16 length of each key, the keys (`almenara.model.series`), metadata as JSON, zeros up to a multiple of 8
    i64 time of each row in ns    f64 value    i32 position of its series among the keys

Metadata is a list of [position, unit, kind, help]. Messages may stand one after the other (`split`).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, Metadata, Series, SeriesTable
from almenara.plugin.contracts import Context

MAGIC, VERSION = b"ALMC", 1
HEAD = struct.Struct("<4sBBHIIII")
_ROW_BYTES = 20
#: What one message may hold; a hub's limit on bodies is lower.
MAX_ROWS, MAX_SERIES, MAX_METADATA_BYTES = 1 << 27, 1 << 20, 16 << 20
#: What a decoder remembers before it starts afresh: series, and bytes of lists of keys.
_MAX_KNOWN, _MAX_BYTES = 1_200_000, 64 << 20
_TEXT_CHARS = 4096

BAD = np.int32(-1)


class Columns:
    """Columns: a batch as it lies in memory, 20 bytes a row and each key once; read at the cost of a copy.

    What `almenara import` sends, and `/api/v1/export?format=columns` gives. Rejected by name: `bad_series` (a key that
    no series has), `not_finite` (infinities; NaN is a value known to be missing).
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._table = SeriesTable()
        self._known: dict[tuple[int, bytes], np.ndarray] = {}  # how many keys, and they as sent -> ids, or BAD
        self._bytes = 0

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """All rows of one message; DecodeError where it is damaged, since then nothing in it can be told."""
        if len(self._table) > _MAX_KNOWN or self._bytes > _MAX_BYTES:
            self._forget()
        series, key_bytes, meta_bytes, rows, at = _head(payload)
        if len(payload) != _size(series, key_bytes, meta_bytes, rows):
            expected = _size(series, key_bytes, meta_bytes, rows)
            raise DecodeError(f"found {len(payload)} bytes, expected {expected} by the head of the message")
        keys_end = at + 2 * series + key_bytes
        ids = self._ids_of(payload[at:keys_end], series)
        metadata = self._metadata(payload[keys_end : keys_end + meta_bytes], ids)
        at = _aligned(keys_end + meta_bytes)
        time, value, id = _columns(payload, at, rows)
        if rows and int(id.view(np.uint32).max()) >= series:
            raise DecodeError(f"found a row of series {int(id.view(np.uint32).max())}, expected less than {series}")
        return self._checked(ids[id], time, value, metadata)

    def _ids_of(self, block: bytes, series: int) -> np.ndarray:
        """int32[series]: the ids of a list of keys. Raises DecodeError."""
        if (ids := self._known.get((series, block))) is None:
            ids = np.array([self._table.intern(key) if _is_key(key) else BAD for key in _keys(block, series)], np.int32)
            self._known[series, block] = ids
            self._bytes += len(block) + ids.nbytes
        return ids

    def _metadata(self, text: bytes, ids: np.ndarray) -> dict[bytes, Metadata]:
        if not text:
            return {}
        try:
            told = [(int(ids[at]), (unit, kind, help)) for at, unit, kind, help in json.loads(text) if at >= 0]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise DecodeError(
                f"metadata: {str(error)[:200]}; expected a list of [position, unit, kind, help]"
            ) from error
        good = [(id, about) for id, about in told if id >= 0 and all(map(_is_text, about))]
        return {self._table.keys[id]: Metadata(*about) for id, about in good}

    def _checked(self, id: np.ndarray, time: np.ndarray, value: np.ndarray, metadata: dict[bytes, Metadata]) -> Decoded:
        rejected, keep = [], None
        for reason, wrong in (("bad_series", id < 0), ("not_finite", np.isinf(value) & (id != BAD))):
            if wrong.any():
                rejected.append(Rejected(f"row {int(np.argmax(wrong)) + 1}", reason, int(np.count_nonzero(wrong))))
                keep = ~wrong if keep is None else keep & ~wrong
        if keep is not None:
            id, time, value = id[keep], time[keep], value[keep]
        return Decoded(Batch(self._table, id, time, value), rejected=rejected, metadata=metadata)

    def encode(self, batch: Batch) -> bytes:
        """One message with the keys of the series that have rows."""
        used, id = used_ids(np.asarray(batch.id, np.int32), len(batch.series))
        return message([batch.series.keys[i] for i in used.tolist()], id, batch.time, batch.value)


def used_ids(id: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(the ids below n that occur, rising; int32[rows]: for each row the position of its id among them)."""
    is_used = np.zeros(n, np.bool_)
    is_used[id] = True
    used = np.flatnonzero(is_used)
    if len(used) == n:
        return used, id
    return used, (np.cumsum(is_used, dtype=np.int32) - np.int32(1))[id]


def message(
    keys: Sequence[bytes], id: np.ndarray, time: np.ndarray, value: np.ndarray,
    metadata: Mapping[int, Metadata] | None = None,
) -> bytes:  # fmt: skip
    """A message of these columns. id: int32[n] positions in `keys`; metadata: by such a position. Raises ValueError."""
    if not len(id) == len(time) == len(value):
        raise ValueError(f"columns differ in length: id {len(id)}, time {len(time)}, value {len(value)}")
    told = [[at, one.unit, one.kind, one.help[:_TEXT_CHARS]] for at, one in (metadata or {}).items()]
    about = json.dumps(told, ensure_ascii=False).encode() if told else b""
    block = b"".join(keys)
    head = HEAD.pack(MAGIC, VERSION, 0, 0, len(keys), len(block), len(about), len(id))
    before = b"".join((head, np.fromiter(map(len, keys), "<u2", len(keys)).tobytes(), block, about))
    columns = (np.ascontiguousarray(c, t).data for c, t in ((time, "<i8"), (value, "<f8"), (id, "<i4")) if len(c))
    return b"".join((before, b"\x00" * (_aligned(len(before)) - len(before)), *columns))


def split(stream: bytearray) -> Iterator[bytes]:
    """Take the whole messages off the front of a growing buffer. Raises DecodeError."""
    while len(stream) >= HEAD.size:
        *sizes, _ = _head(bytes(stream[: HEAD.size]))
        if len(stream) < (size := _size(*sizes)):
            return
        yield bytes(stream[:size])
        del stream[:size]


def _head(payload: bytes) -> tuple[int, int, int, int, int]:
    """(series, bytes of keys, bytes of metadata, rows, where the head ends), all within the limits."""
    if len(payload) < HEAD.size:
        raise DecodeError(f"found {len(payload)} bytes, expected a head of {HEAD.size}")
    magic, version, _, _, series, key_bytes, meta_bytes, rows = HEAD.unpack_from(payload)
    if magic != MAGIC or version != VERSION:
        raise DecodeError(f"found {bytes(payload[:5])!r}, expected {MAGIC + bytes([VERSION])!r}")
    if rows > MAX_ROWS or series > MAX_SERIES or meta_bytes > MAX_METADATA_BYTES:
        raise DecodeError(f"found {rows} rows, {series} series and {meta_bytes} bytes of metadata, which is too much")
    return series, key_bytes, meta_bytes, rows, HEAD.size


def _size(series: int, key_bytes: int, meta_bytes: int, rows: int) -> int:
    return _aligned(HEAD.size + 2 * series + key_bytes + meta_bytes) + _ROW_BYTES * rows


def _aligned(at: int) -> int:
    return (at + 7) & ~7


def _columns(payload: bytes, at: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    time = np.frombuffer(payload, "<i8", rows, at)
    value = np.frombuffer(payload, "<f8", rows, at + time.nbytes)
    id = np.frombuffer(payload, "<i4", rows, at + time.nbytes + value.nbytes)
    return tuple(np.require(c, requirements="A") for c in (time, value, id))  # type: ignore[return-value]


def _keys(block: bytes, series: int) -> Iterator[bytes]:
    """The keys of a list; DecodeError where the lengths do not add up."""
    lengths = np.frombuffer(block, "<u2", series)
    if int(lengths.sum(dtype=np.int64)) != len(block) - 2 * series:
        raise DecodeError(f"found {len(block) - 2 * series} bytes of keys, expected {int(lengths.sum())}")
    at = 2 * series
    for length in lengths.tolist():
        yield block[at : at + length]
        at += length


def _is_key(key: bytes) -> bool:
    """Whether this is a key as `encode_key` makes it."""
    if not 0 < len(key) <= MAX_KEY_BYTES or key.count(b"\xff") > MAX_LABELS:
        return False
    try:
        series = Series.from_key(key)
    except UnicodeDecodeError:
        return False
    names = [label for label, _ in series.labels]
    return series.name != "" and series.key == key and len(set(names)) == len(names) and "" not in names


def _is_text(one: object) -> bool:
    return isinstance(one, str) and len(one) <= _TEXT_CHARS
