"""Drives the compiled reader of Graphite plaintext over a payload: room for rows, new paths, rejections."""

from __future__ import annotations

import secrets

import numpy as np

from almenara.codecs import _graphite_kernel as kernel
from almenara.codecs import _graphite_path as codes
from almenara.codecs._bounds import check_new
from almenara.codecs._graphite_path import BadPath, Template, read_path
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import SeriesTable

#: What is remembered before it starts afresh: about 100 MB at most.
_MAX_PATHS, _MAX_BYTES = 200_000, 64 << 20
_DETAIL = 80

_EXPECTED = {
    codes.NO_VALUE: "path value [seconds]",
    codes.NO_TIME: "a time in seconds, -1 or N",
    codes.NOT_FINITE: "a finite number",
    codes.TIME_RANGE: "a time from 1970 to 2262",
    codes.KEY_TOO_LONG: "a path of at most 4096 bytes",
}
_REASON = {
    codes.NOT_FINITE: "not_finite",
    codes.TIME_RANGE: "time_out_of_range",
    codes.KEY_TOO_LONG: "key_too_long",
    codes.NOT_UTF8: "not_utf8",
    codes.TOO_MANY_LABELS: "too_many_labels",
}


class Reader:
    """Reads one payload after the other, and remembers paths."""

    def __init__(self, templates: list[Template], separator: str):
        self._templates, self._separator = templates, separator
        self._forget()

    def _forget(self) -> None:
        self._table = SeriesTable()
        self._seed = secrets.randbits(62)  # nobody outside can choose paths that collide
        self._count = self._used = self._key_bytes = 0
        self._memo = kernel.Memo(np.empty(4096, np.uint8), np.empty((64, 5), np.int64), np.full(256, -1, np.int32))

    def read(self, payload: bytes, received_ns: int) -> Decoded:
        """All rows of a payload."""
        if self._count > _MAX_PATHS or self._used + self._key_bytes > _MAX_BYTES:
            self._forget()
        buf, most = np.frombuffer(payload, np.uint8), payload.count(b"\n") + 1
        out = kernel.Columns(np.empty(most, np.int32), np.empty(most, np.int64), np.empty(most, np.float64))
        lists, cursor = _lists(), np.zeros(kernel.CURSOR, np.int64)
        cursor[kernel.PREVIOUS] = -1
        whole = True  # whether every row so far is one to keep
        known = len(self._table)
        while True:
            kernel.parse(buf, received_ns, self._seed, self._memo, out, lists, cursor)
            for row, start, stop, line_no in lists.slow[: cursor[kernel.SLOW]].tolist():
                out.value[row] = value = float(payload[start:stop])
                if not np.isfinite(value):
                    _reject(lists, codes.NOT_FINITE, line_no, start)
                    whole = False
            if cursor[kernel.NEW]:
                whole &= self._learn(payload, lists, int(cursor[kernel.NEW]), out)
                check_new(len(self._table) - known)
            if not cursor[kernel.FULL]:
                break
        rows = int(cursor[kernel.ROW])
        kept: tuple[np.ndarray, ...] = tuple(column[:rows] for column in out)
        if not whole:
            good = (kept[0] >= 0) & np.isfinite(kept[2])
            kept = tuple(column[good] for column in kept)
        rejected = self._rejections(payload, lists)
        if not len(kept[0]) and rejected and {r.reason for r in rejected} <= {"bad_line", "not_utf8"}:
            first = rejected[0]
            raise DecodeError(f"no line can be read as Graphite plaintext; {first.where}: {first.detail}")
        return Decoded(Batch(self._table, *kept), rejected=rejected)

    def _learn(self, payload: bytes, lists: kernel.Lists, count: int, out: kernel.Columns) -> bool:
        """Take in paths that the kernel did not know, and give their rows ids; says whether all of them are good."""
        known: dict[bytes, int] = {}
        good = True
        for row, start, stop, line_no in lists.new[:count].tolist():
            path = payload[start:stop]
            if path not in known:
                known[path] = self._id(path)
            out.id[row] = id = known[path]
            if id < 0:
                _reject(lists, -id, line_no, start)
                good = False
        self._enter(known)
        return good

    def _id(self, path: bytes) -> int:
        """The id of the series of a path, or -code."""
        try:
            key = read_path(path, self._templates, self._separator)
        except BadPath as bad:
            return -bad.code
        self._key_bytes += len(key)
        return self._table.intern(key)

    def _enter(self, known: dict[bytes, int]) -> None:
        """Put new paths into the memo."""
        text = b"".join(known)
        arena = _room(self._memo.arena, self._used + len(text))
        arena[self._used : self._used + len(text)] = np.frombuffer(text, np.uint8)
        paths, first = _room(self._memo.paths, self._count + len(known)), self._count
        for path, id in known.items():
            paths[self._count] = (self._used, len(path), -1, 0, id)
            self._used += len(path)
            self._count += 1
        slots = self._memo.slots
        if 2 * self._count > len(slots):
            slots, first = np.full(1 << (4 * self._count).bit_length(), -1, np.int32), 0
        self._memo = kernel.Memo(arena, paths, slots)
        kernel.enter(self._memo, first, self._count, self._seed)

    def _rejections(self, payload: bytes, lists: kernel.Lists) -> list[Rejected]:
        """The first few of each kind one by one, by line; then how many more there were of each reason."""
        listed: list[tuple[int, Rejected]] = []
        more: dict[str, int] = {}
        for code in np.flatnonzero(lists.counts).tolist():
            reason, count = _REASON.get(code, "bad_line"), int(lists.counts[code])
            shown = min(count, kernel.SHOWN)
            for line_no, at, start in lists.rejected[code * kernel.SHOWN :][:shown].tolist():
                detail = self._detail(payload, code, at, start)[:_DETAIL]
                listed.append((line_no, Rejected(f"line {line_no}", reason, 1, detail)))
            if count > shown:
                more[reason] = more.get(reason, 0) + count - shown
        listed.sort(key=lambda pair: pair[0])
        return [one for _, one in listed] + [Rejected("more lines", reason, rows) for reason, rows in more.items()]

    def _detail(self, payload: bytes, code: int, at: int, start: int) -> str:
        if code not in _EXPECTED or (code == codes.KEY_TOO_LONG and at == start):
            try:
                read_path(payload[start : start + 65_536].split(None, 1)[0], self._templates, self._separator)
            except BadPath as error:
                return str(error)
        found = payload[at : at + 40].split(b"\n")[0].decode(errors="replace")
        return f"found {found[:24]!r}, expected {_EXPECTED[code]}"


def _lists() -> kernel.Lists:
    return kernel.Lists(
        np.empty((4096, 4), np.int64),
        np.empty((1024, 4), np.int64),
        np.zeros((codes.CODES * kernel.SHOWN, 3), np.int64),
        np.zeros(codes.CODES, np.int64),
    )


def _reject(lists: kernel.Lists, code: int, line_no: int, at: int) -> None:
    if lists.counts[code] < kernel.SHOWN:
        lists.rejected[code * kernel.SHOWN + lists.counts[code]] = (line_no, at, at)
    lists.counts[code] += 1


def _room(array: np.ndarray, size: int) -> np.ndarray:
    """`array`, or a copy at least twice as long if it is shorter than `size`."""
    if size <= len(array):
        return array
    return np.concatenate([array, np.empty((max(size, 2 * len(array)) - len(array), *array.shape[1:]), array.dtype)])
