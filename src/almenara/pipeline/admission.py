"""Which rows the hub takes: times in the window, finite values, series within the limits; the rest has a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from almenara._compiled import njit
from almenara.model.batch import Batch, Rejected
from almenara.model.series import EQUALS, FIELD, MAX_KEY_BYTES, MAX_LABELS, Series, SeriesList
from almenara.model.time import EARLIEST_NS, LATEST_NS, MINUTE_NS, NS
from almenara.pipeline.index import NAME, SeriesIndex

UNKNOWN, BAD_KEY = np.int32(-1), np.int32(-2)
_NAME = NAME.encode()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the hub takes. future_s: how far ahead of the hub's clock a time may be. retention_s: 0 = for ever."""

    future_s: float = 300.0
    retention_s: float = 0.0
    series: int = 1_000_000
    new_series_per_minute: int = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Turned:
    """Rows of a batch that were turned away for one reason. at: int64[k], their positions in the batch."""

    rejected: Rejected
    at: np.ndarray


@njit(cache=True, nogil=True)
def _pass(local, time, value, ids, earliest, latest, out):  # type: ignore[no-untyped-def]
    """Rows to the hub's ids, `out`; whether all may stay: series known, time in [earliest, latest], no infinite value.

    `local` points into `ids`, which the caller has seen to."""
    good = True
    for k in range(len(local)):
        id, t, v = ids[local[k]], time[k], value[k]
        out[k] = id
        # inf - inf is no number, and neither is NaN - NaN, which may stay: it is the one that is not itself.
        good &= (id >= 0) & (t >= earliest) & (t <= latest) & ((v - v == 0.0) | (v != v))
    return good


class Admission:
    """Rows of decoded batches to rows of the hub, by the commit thread alone.

    `new_series` is told keys before they get their ids; it makes them durable or raises. Rows of the hub's `own` are
    past the limits of series: they are few, and they are what tells of the limits.
    """

    def __init__(self, index: SeriesIndex, limits: Limits, new_series: Callable[[int, list[bytes]], None]):
        self._index, self._limits, self._new_series = index, limits, new_series
        self._ids: WeakKeyDictionary[SeriesList, np.ndarray] = WeakKeyDictionary()
        self._allowance = float(limits.new_series_per_minute)
        self._allowance_ns = 0

    def admit(
        self, batch: Batch, now_ns: int, *, own: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Turned]]:
        """(id, time, value) of the rows that stay, in their order and with the hub's ids, and what was turned away."""
        local = np.ascontiguousarray(batch.id, np.int32)
        time, value = np.ascontiguousarray(batch.time, np.int64), np.ascontiguousarray(batch.value, np.float64)
        if len(local) == 0:
            return local, time, value, []
        known = self._known(batch.series, local)
        ids = np.empty(len(local), np.int32)
        if _pass(local, time, value, known, *self._window(now_ns), ids):  # the usual case
            return ids, time, value, []
        ids = self._intern(batch.series, local, known, now_ns, own)
        if not (wrong := list(self._wrong(ids, time, value, now_ns))):
            return ids, time, value, []
        keep = np.ones(len(local), np.bool_)
        turned: list[Turned] = []
        for reason, is_wrong in wrong:
            if len(at := np.flatnonzero(is_wrong & keep)):
                keep[at] = False
                found = f"{_text(batch.series, int(local[at[0]]))} = {value[at[0]]:g} at {time[at[0]]} ns"
                turned.append(Turned(Rejected("admission", reason, len(at), found), at))
        return ids[keep], time[keep], value[keep], turned

    def _wrong(
        self, ids: np.ndarray, time: np.ndarray, value: np.ndarray, now_ns: int
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Reasons to turn rows away, and bool[n], which rows; of reasons that hold for some row."""
        first, last, lowest = int(time.min()), int(time.max()), int(ids.min())
        if first < EARLIEST_NS:
            yield "no_clock", time < EARLIEST_NS
        if last > (latest := now_ns + int(self._limits.future_s * NS)):
            yield "future", time > latest
        if (infinite := np.isinf(value)).any():
            yield "not_finite", infinite
        if lowest < 0:
            yield "bad_series", ids == BAD_KEY
            yield "series_limit", ids == UNKNOWN
        if self._limits.retention_s and first < (expired := now_ns - int(self._limits.retention_s * NS)):
            yield "expired", time < expired

    def _window(self, now_ns: int) -> tuple[int, int]:
        """The times that may stay, the last one included."""
        retention_ns = int(self._limits.retention_s * NS)
        earliest = max(EARLIEST_NS, now_ns - retention_ns) if retention_ns else EARLIEST_NS
        return earliest, min(now_ns + int(self._limits.future_s * NS), LATEST_NS)

    def _known(self, series: SeriesList, local: np.ndarray) -> np.ndarray:
        """int32[len(series)]: the hub's ids of the series of a batch's table, UNKNOWN where none was needed yet."""
        n = len(series)
        if local.min() < 0 or local.max() >= n:
            raise ValueError(f"a batch points to series {local.min()} to {local.max()} of a table of {n}")
        ids = self._ids.get(series)
        if ids is None or len(ids) < n:
            grown = np.full(n, UNKNOWN, np.int32)
            if ids is not None:
                grown[: len(ids)] = ids
            self._ids[series] = ids = grown
        return ids

    def _intern(self, series: SeriesList, local: np.ndarray, ids: np.ndarray, now_ns: int, own: bool) -> np.ndarray:
        """The hub's id of each row; UNKNOWN past the series limit, BAD_KEY for a key that no series may have."""
        found = ids[local]
        if (unknown := found == UNKNOWN).any():
            wanted = np.unique(local[unknown])
            ids[wanted] = self._number([series.keys[i] for i in wanted.tolist()], now_ns, own)
            found = ids[local]
        return found

    def _number(self, keys: list[bytes], now_ns: int, own: bool) -> np.ndarray:
        """Ids of keys; new ones get theirs as long as the limits allow."""
        ids = self._index.find(keys)
        missing = np.flatnonzero(ids == UNKNOWN)
        good = [i for i in missing.tolist() if is_good(keys[i])]
        ids[np.setdiff1d(missing, good)] = BAD_KEY
        good = good if own else good[: self._allowed(len(good), now_ns)]
        if good:
            new = list(dict.fromkeys(keys[i] for i in good))  # a table of a plugin's own may have a key twice
            self._new_series(len(self._index), new)
            self._index.add(new)
            ids[good] = self._index.find([keys[i] for i in good])
            self._allowance -= 0 if own else len(new)
        return ids

    def _allowed(self, wanted: int, now_ns: int) -> int:
        """How many series may be begun now."""
        per_minute = self._limits.new_series_per_minute
        passed = max(0, now_ns - self._allowance_ns) / MINUTE_NS
        self._allowance = min(per_minute, self._allowance + per_minute * passed)
        self._allowance_ns = now_ns
        return min(wanted, int(self._allowance), max(0, self._limits.series - len(self._index)))


def _text(series: SeriesList, id: int) -> str:
    """A series for a person to read, also where its key is none."""
    key = series.keys[id]
    return str(Series.from_key(key))[:160] if is_good(key) else repr(key[:80])


def is_good(key: bytes) -> bool:
    """Whether a series may have this key: well formed as `encode_key` makes it, and within the limits.

    The index cuts keys without looking; one that is malformed would give all series after it the wrong labels.
    """
    if len(key) > MAX_KEY_BYTES or key.count(FIELD) > MAX_LABELS or b"\x00" in key:
        return False
    name, *fields = key.split(FIELD)
    if not name or EQUALS in name:
        return False
    before = b""
    for field in fields:
        label, equals, value = field.partition(EQUALS)
        if not equals or not value or EQUALS in value or label <= before or label == _NAME:
            return False
        before = label
    try:
        key.replace(FIELD, b" ").replace(EQUALS, b" ").decode()
    except UnicodeDecodeError:
        return False
    return True
