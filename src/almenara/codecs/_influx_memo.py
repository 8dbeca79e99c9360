"""What a decoder of Influx line protocol remembers: from the bytes of a key, as sent, to the id of its series.

Names are cleaned, labels sorted and series interned here, in Python, once a key; after that only bytes are compared.
"""

from __future__ import annotations

import secrets

import numpy as np

from almenara.codecs import _influx_kernel as kernel
from almenara.codecs import _influx_tokens as tokens
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, SeriesTable, encode_key, label_name, metric_name

# While a key is taken apart its escaped characters stand as lone surrogates, which no UTF-8 text has.
_ESCAPES = (("\\,", "\udc01", ","), ("\\ ", "\udc02", " "), ("\\=", "\udc03", "="))


class BadKey(ValueError):
    """A key that no series can have. `code` is one of `_influx_tokens`."""

    def __init__(self, code: int, detail: str):
        self.code = code
        super().__init__(detail)


def parse_key(raw: bytes) -> tuple[str, dict[str, str]]:
    """(measurement as sent, labels cleaned) of a line key such as `cpu,host=a`. Raises BadKey."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadKey(tokens.NOT_UTF8, f"key is not UTF-8 at byte {error.start}") from None
    measurement, *tags = _hide(text).split(",")
    if not measurement:
        raise BadKey(tokens.BAD_KEY, "found no measurement before the first comma")
    labels: dict[str, str] = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        if not name or not equals:
            raise BadKey(tokens.BAD_KEY, f"tag: found {_show(tag)!r}, expected name=value")
        name = label_name(_show(name))
        if name in labels:
            raise BadKey(tokens.DUPLICATE_TAG, f"two tags become the label {name}")
        labels[name] = _show(value)
    if len(labels) > MAX_LABELS:
        raise BadKey(tokens.TOO_MANY_LABELS, f"found {len(labels)} tags, expected at most {MAX_LABELS}")
    return _show(measurement), labels


def field_name(raw: bytes) -> str:
    """A field's name as sent, such as `read\\ bytes`, without its escapes. Raises UnicodeDecodeError."""
    return _show(_hide(raw.decode()))


def _hide(text: str) -> str:
    if "\\" in text:
        for escaped, hidden, _ in _ESCAPES:
            text = text.replace(escaped, hidden)
    return text


def _show(text: str) -> str:
    if not text.isascii():
        for _, hidden, plain in _ESCAPES:
            text = text.replace(hidden, plain)
    return text


class Memory:
    """The memo as the kernel reads it, and the table its ids point into. It only grows; make a new one when `full`."""

    def __init__(self, max_series: int, max_bytes: int):
        self.table = SeriesTable()
        self.seed = secrets.randbits(62)  # nobody outside can choose keys that collide
        self._max_series, self._max_bytes = max_series, max_bytes
        self._bytes = self._lines = self._fields = self._used = 0
        self._names: dict[bytes, int] = {}  # field name with its `=` -> offset in the arena
        self._noted: set[tuple[str, str]] = set()  # measurements and fields whose names are at the table
        self.view = kernel.Memo(
            np.empty(4096, np.uint8),
            np.empty((64, 6), np.int64),
            np.empty((256, 6), np.int64),
            np.full(256, -1, np.int32),
            np.full(1024, -1, np.int32),
        )

    @property
    def full(self) -> bool:
        """Whether it has passed a limit and should be given up for an empty one."""
        return max(self._lines, self._fields) > self._max_series or self._bytes > self._max_bytes

    def learn(self, payload: bytes, new: np.ndarray) -> None:
        """Take in keys that the kernel did not know. new: int64[k, 5] as in `kernel.Lists`."""
        known: dict[bytes, _Line] = {}
        texts: list[bytes] = []
        lines: list[tuple[int, ...]] = []
        fields: list[tuple[int, ...]] = []
        for number, key_start, key_stop, name_start, name_stop in new.tolist():
            key, name = payload[key_start:key_stop], payload[name_start:name_stop]
            line = known.get(key)
            if line is None:
                line = known[key] = _Line(number if number >= 0 else self._lines + len(lines), key)
                if number < 0:
                    lines.append((self._place(key, texts), len(key), -1, 0, -1, line.code))
            if not line.code and name not in line.names:
                line.names.add(name)
                if name not in self._names:
                    self._names[name] = self._place(name, texts)
                fields.append((self._names[name], len(name), -1, 0, line.number, self._id(name, line)))
        self._enter(b"".join(texts), lines, fields)

    def _id(self, name: bytes, line: _Line) -> int:
        """The id of the series of a field, or -code."""
        try:
            text = field_name(name[:-1])
        except UnicodeDecodeError:
            return -tokens.NOT_UTF8
        name_of = line.measurement if text == "value" else f"{line.measurement}_{text}"
        series = metric_name(name_of)
        key = series.encode() + line.labels
        if len(key) > MAX_KEY_BYTES:
            return -tokens.KEY_TOO_LONG
        if (line.measurement, text) not in self._noted:
            self._noted.add((line.measurement, text))
            self.table.origins.append((series, line.measurement, text))
        self._bytes += len(key)
        return self.table.intern(key)

    def _place(self, text: bytes, texts: list[bytes]) -> int:
        """The offset that `text` will have in the arena when `texts` are put there."""
        offset = self._used
        texts.append(text)
        self._used += len(text)
        return offset

    def _enter(self, text: bytes, lines: list[tuple[int, ...]], fields: list[tuple[int, ...]]) -> None:
        """Put new bytes into the arena, rows into both tables and their hashes into the slots."""
        old, view, seed = self._used - len(text), self.view, self.seed
        arena = _room(view.arena, self._used)
        arena[old : self._used] = np.frombuffer(text, np.uint8)
        line_table, field_table = _add(view.lines, self._lines, lines), _add(view.fields, self._fields, fields)
        first_line, self._lines = self._lines, self._lines + len(lines)
        first_field, self._fields = self._fields, self._fields + len(fields)
        self._bytes += len(text) + 64 * (len(lines) + len(fields))
        kernel.hash_lines(line_table, first_line, self._lines, arena, seed)
        kernel.hash_fields(field_table, first_field, self._fields, arena, line_table)
        line_slots = _slots(view.line_slots, line_table, first_line, self._lines)
        field_slots = _slots(view.field_slots, field_table, first_field, self._fields)
        self.view = kernel.Memo(arena, line_table, field_table, line_slots, field_slots)


class _Line:
    """One line key while its fields are learned: its number, what it says, or the code of what is wrong with it."""

    def __init__(self, number: int, key: bytes):
        self.number, self.code, self.names = number, 0, set[bytes]()
        self.measurement, self.labels = "", b""
        try:
            self.measurement, labels = parse_key(key)
            self.labels = encode_key("", labels)  # what follows the name in the key of each of its series
        except BadKey as error:
            self.code = error.code


def _room(array: np.ndarray, size: int) -> np.ndarray:
    """`array`, or a copy at least twice as long if it is shorter than `size`."""
    if size <= len(array):
        return array
    return np.concatenate([array, np.empty((max(size, 2 * len(array)) - len(array), *array.shape[1:]), array.dtype)])


def _add(table: np.ndarray, count: int, rows: list[tuple[int, ...]]) -> np.ndarray:
    """The table with these rows after its first `count`."""
    table = _room(table, count + len(rows))
    if rows:
        table[count : count + len(rows)] = rows
    return table


def _slots(slots: np.ndarray, table: np.ndarray, first: int, count: int) -> np.ndarray:
    """The hash table with rows first..count entered; made anew, larger, when it would be over half full."""
    if 2 * count > len(slots):
        slots, first = np.full(1 << (4 * count).bit_length(), -1, np.int32), 0
    kernel.put_all(slots, table, first, count)
    return slots
