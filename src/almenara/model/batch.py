"""`Batch`: the one type that flows from decoding to alarms. n samples in columns; no sample is ever a Python object."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, Series, SeriesList, SeriesTable

#: Any buffer of one type: the standard library's `array` in the agent, a numpy array in the hub.
Column = Any


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """n samples: series `series[id[i]]` had `value[i]` at `time[i]`.

    id: int32[n]; time: int64[n], nanoseconds since 1970 in UTC; value: float64[n], NaN = known to be missing. Rows may
    come in any order; of rows with the same series and time the last one counts. Equal lengths are checked here, once.
    """

    series: SeriesList
    id: Column
    time: Column
    value: Column

    def __post_init__(self) -> None:
        if not len(self.id) == len(self.time) == len(self.value):
            lengths = f"id {len(self.id)}, time {len(self.time)}, value {len(self.value)}"
            raise ValueError(f"columns of one batch differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.id)

    @classmethod
    def of(cls, rows: Iterable[tuple[Series | bytes, int, float]]) -> Batch:
        """A small batch from (series or key, time in ns, value); for collectors, tests and people."""
        table, ids, times, values = SeriesTable(), array("i"), array("q"), array("d")
        for series, time, value in rows:
            ids.append(table.intern(series if isinstance(series, bytes) else series.key))
            times.append(time)
            values.append(value)
        return cls(table, ids, times, values)


@dataclass(frozen=True, slots=True)
class Event:
    """Something said, not measured: a log line, a trap, a message. A task turns events into rows."""

    time: int
    labels: tuple[tuple[str, str], ...]
    text: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows that a decoder left out. `reason` is a counter's label: a short fixed word such as `not_a_number`."""

    where: str  # "line 3", "field temperature": for a person
    reason: str
    rows: int = 1
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one payload held."""

    batch: Batch
    events: Sequence[Event] = ()
    rejected: Sequence[Rejected] = ()
    metadata: Mapping[bytes, Metadata] = field(default_factory=dict)  # by series key; a name alone: all of that name


@dataclass(frozen=True, slots=True, eq=False)
class DecodedMany:
    """What many payloads held: all their rows as one batch, in the order of the payloads.

    owner: int64[n], the position of the payload that each row came in, never falling. notes: by position, of payloads
    of which there is more to say than rows; the `batch` of such a Decoded is not looked at, its rows are in `batch`.
    """

    batch: Batch
    owner: Column
    notes: Mapping[int, Decoded | DecodeError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What a detector says of rows; columns are aligned with the rows judged.

    score: float64[n] = log p / log p_limit with p the calibrated tail probability: NaN not ready, 0 as expected, 1 at
    the limit. yhat, lower, upper: float64[n], what was expected and the band that belongs to p_limit; NaN not ready.
    share: float64[n], the part of a joint anomaly that this row carries (1 where rows are judged alone). cause:
    int16[n], index into the detector's `causes`; -1 none. value: float64[n], what was judged where that is not the
    rows' own value: of counters the rate a second; None: it is. nth: int32[n], of rows over the limit which one of
    their anomaly they are, 1 where it begins (`almenara.analysis.alerts`), 0 for others; None: not counted. Detectors
    leave both to the hub. notes: by row, what a detector adds in words to the cause, such as since when. parts: where
    several detectors judged, what each of them said, by name; made when it is asked for.
    """

    score: Column
    yhat: Column
    lower: Column
    upper: Column
    share: Column
    cause: Column
    value: Column | None = None
    nth: Column | None = None
    notes: Mapping[int, str] = field(default_factory=dict)
    parts: Mapping[str, Callable[[], Verdict]] = field(default_factory=dict)

    def by(self, detector: str) -> Verdict:
        """What one detector said, of all rows; where there was but one, it is that."""
        part = self.parts.get(detector)
        return self if part is None else replace(part(), value=self.value)

    def judged(self, batch: Batch) -> Column:
        """float64[n]: the values that were judged."""
        return batch.value if self.value is None else self.value

    def __len__(self) -> int:
        return len(self.score)
