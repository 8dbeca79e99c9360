"""The texts of new plugins, one for each kind; `$name` and the like are filled in by `almenara.plugin.scaffold`."""

from __future__ import annotations

TEST = '''\
"""$cls keeps the contract of a $kind."""

$imports


def test_it_keeps_its_contract() -> None:
    assert check("$kind", $cls) == []
'''

CODEC = '''\
"""`$name`: lines of text, `series time value`, to rows and back. Replace the format with yours."""

from __future__ import annotations

from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import Series, encode_key
from almenara.model.time import NS
from almenara.plugin.contracts import Context


class $cls:
    """Reads lines such as `temperature,city=Mumbai 1700000000 20.5`; the time is in seconds.

    Options:
        separator: What stands between the parts of a line.
    """

    def __init__(self, *, separator: str = " ") -> None:
        self._separator = separator

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Every readable line; the others are in `rejected`. Raises DecodeError for what is no text."""
        try:
            lines = payload.decode().splitlines()
        except UnicodeDecodeError as error:
            raise DecodeError(f"byte {error.start} is no UTF-8; expected text") from error
        rows, rejected = [], []
        for number, line in enumerate(lines, 1):
            try:
                key, time, value = line.split(self._separator)
                name, *pairs = key.split(",")
                labels = [(label, text) for label, _, text in (pair.partition("=") for pair in pairs)]
                rows.append((encode_key(name, labels), round(float(time) * NS), float(value)))
            except (ValueError, OverflowError) as error:
                rejected.append(Rejected(f"line {number}", "not_readable", detail=str(error)))
        return Decoded(Batch.of(rows), rejected=rejected)

    def encode(self, batch: Batch) -> bytes:
        """One line for each row."""
        lines = []
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            series: Series = batch.series[id]
            key = ",".join([series.name, *(f"{label}={text}" for label, text in series.labels)])
            lines.append(self._separator.join([key, repr(time / NS), repr(float(value))]))
        return "\\n".join(lines).encode()
'''

TRANSPORT = '''\
"""`$name`: datagrams over UDP. Replace the link with yours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from almenara.plugin.contracts import Packet
from almenara.plugin.options import Range


class $cls:
    """Receives datagrams, each of them one payload, and sends some.

    Options:
        host: Address to listen on, and to send to.
        port: UDP port of both.
        waiting: How many datagrams may wait; the oldest go first when more arrive.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: Annotated[int, Range(0, 65535)] = 9999,
        waiting: Annotated[int, Range(1)] = 10_000,
    ) -> None:
        self._address = (host, port)
        self._queue: asyncio.Queue[Packet] = asyncio.Queue(waiting)

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """What arrived."""
        loop = asyncio.get_running_loop()
        link, _ = await loop.create_datagram_endpoint(lambda: _Receiver(self._queue), local_addr=self._address)
        try:
            while True:
                yield [await self._queue.get()]
        finally:
            link.close()

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send one datagram; UDP promises nothing."""
        loop = asyncio.get_running_loop()
        link, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=self._address)
        link.sendto(payload)
        link.close()


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, queue: asyncio.Queue[Packet]):
        self._queue = queue

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(Packet("$name", data, time.time_ns(), source=f"$name:{addr[0]}", qos=0))
'''

COLLECTOR = '''\
"""`$name`: measures something every few seconds. Replace `collect` with your measurement."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Annotated

from almenara.model.batch import Batch
from almenara.model.series import Series
from almenara.plugin.options import Range


class $cls:
    """Measures how many processes wait for a processor.

    Options:
        every_s: Time between two measurements.
        host: Value of the label `host`.
    """

    def __init__(self, *, every_s: Annotated[float, Range(0.1)] = 10.0, host: str = "") -> None:
        self._every_s = every_s
        self._series = Series.of("${name}_load", host=host or os.uname().nodename)

    async def batches(self) -> AsyncIterator[Batch]:
        """One batch every `every_s`."""
        while True:
            yield await asyncio.to_thread(self.collect)
            await asyncio.sleep(self._every_s)

    def collect(self) -> Batch:
        """What is measured now."""
        return Batch.of([(self._series, time.time_ns(), os.getloadavg()[0])])
'''

DETECTOR = '''\
"""`$name`: judges values by the mean and spread of their series. Replace `_learn` and `_judge` with yours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np

from almenara.model.batch import Batch, Verdict
from almenara.plugin.options import Range


class $cls:
    """Calls a value an anomaly that is far from the mean of its series.

    Options:
        limit: Distance from the mean, in standard deviations, that scores 1.
        ready_after: Rows of a series that are only learned.
    """

    causes = ("far above the mean", "far below the mean")

    def __init__(
        self, *, limit: Annotated[float, Range(0.1)] = 5.0, ready_after: Annotated[int, Range(2)] = 30
    ) -> None:
        self._limit, self._ready_after = limit, ready_after
        self._state = np.zeros((0, 3))  # by series id: rows, mean, sum of squared distances (Welford 1962)

    def step(self, batch: Batch) -> Verdict:
        """Judge each row against what came before it, then learn it."""
        return self._run(batch, self._grown(batch))

    def look(self, batch: Batch) -> Verdict:
        """As `step`, but leave the state as it was."""
        return self._run(batch, self._grown(batch).copy())

    def state(self) -> dict[str, np.ndarray]:
        """Everything learned; a copy."""
        return {"state": self._state.copy()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave. Raises ValueError for arrays of another shape."""
        if "state" not in arrays:
            raise ValueError(f"found {', '.join(arrays) or 'nothing'}; expected an array state")
        state = np.asarray(arrays["state"], float)
        if state.ndim != 2 or state.shape[1] != 3:
            raise ValueError(f"state has the shape {state.shape}; expected (series, 3)")
        self._state = state.copy()

    def _grown(self, batch: Batch) -> np.ndarray:
        missing = (int(np.max(batch.id)) + 1 if len(batch) else 0) - len(self._state)
        if missing > 0:
            self._state = np.concatenate([self._state, np.zeros((missing, 3))])
        return self._state

    def _run(self, batch: Batch, state: np.ndarray) -> Verdict:
        n = len(batch)
        nan = np.full((4, n), np.nan)
        verdict = Verdict(*nan, share=np.ones(n), cause=np.full(n, -1, np.int16))
        # A loop over rows is slow; put it into a numba kernel once the method stands (see almenara.detectors).
        for i in range(n):
            # Squares of larger numbers would not be finite, and an infinite score says nothing.
            slot, value = state[batch.id[i]], float(np.clip(batch.value[i], -1e150, 1e150))
            if slot[0] >= self._ready_after:
                self._judge(slot, value, verdict, i)
            if value == value:
                self._learn(slot, value)
        return verdict

    def _judge(self, slot: np.ndarray, value: float, verdict: Verdict, i: int) -> None:
        reach = max(self._limit * float(np.sqrt(slot[2] / slot[0])), 1e-9)
        verdict.yhat[i], verdict.lower[i], verdict.upper[i] = slot[1], slot[1] - reach, slot[1] + reach
        verdict.score[i] = abs(value - slot[1]) / reach
        if verdict.score[i] > 1:
            verdict.cause[i] = 0 if value > slot[1] else 1

    @staticmethod
    def _learn(slot: np.ndarray, value: float) -> None:
        slot[0] += 1
        before = value - slot[1]
        slot[1] += before / slot[0]
        slot[2] += before * (value - slot[1])
'''

STORE = '''\
"""`$name`: keeps rows in dicts. Replace them with your database; `almenara.testing.stores` tests it further."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from almenara.model.batch import Batch, Column, Event
from almenara.model.errors import StoreError
from almenara.model.series import SeriesList
from almenara.plugin.contracts import Selection

FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "avg": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "sum": math.fsum,
    "count": len,
    "last": lambda values: values[-1],
    "first": lambda values: values[0],
}


class $cls:
    """Keeps everything in memory, and forgets it when the hub stops."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.rows: dict[tuple[int, int], tuple[int, float]] = {}  # (id, time) -> (seq, value)
        self.events: dict[int, list[Event]] = {}

    def add_series(self, first_id: int, keys: Sequence[bytes]) -> None:
        """Keep these keys as ids first_id, first_id + 1... Raises StoreError where ids have other keys already."""
        known = self.keys[first_id : first_id + len(keys)]
        if first_id > len(self.keys) or known != list(keys[: len(known)]):
            raise StoreError(f"ids from {first_id} do not go on from the {len(self.keys)} that are kept")
        self.keys[first_id : first_id + len(keys)] = keys

    def series_keys(self) -> Iterator[Sequence[bytes]]:
        """All keys in the order of their ids."""
        yield self.keys

    def append(self, batch: Batch, seq: int) -> None:
        """Keep all rows; of two with the same id and time the one with the higher seq wins. Raises StoreError for
        rows that are not sorted and unique."""
        places = [(int(i), int(t)) for i, t in zip(batch.id, batch.time, strict=True)]
        if sorted(set(places)) != places or (places and places[0][0] < 0):
            raise StoreError("rows must be sorted by (id, time), each once, with ids from 0")
        new = {place: (seq, float(v)) for place, v in zip(places, batch.value, strict=True)}
        self.rows |= {place: row for place, row in new.items() if self.rows.get(place, row)[0] <= seq}

    def append_events(self, events: Sequence[Event], seq: int) -> None:
        """Keep events; the same seq again does nothing."""
        self.events.setdefault(seq, list(events))

    def read_events(self, start: int, end: int, limit: int = 1000) -> list[Event]:
        """The newest events in [start, end), newest first."""
        found = [e for events in self.events.values() for e in events if start <= e.time < end]
        return sorted(found, key=lambda e: e.time)[::-1][:limit]

    def delete_events(self, start: int, end: int) -> int:
        """Remove events in [start, end); says how many went."""
        before = sum(map(len, self.events.values()))
        self.events = {seq: [e for e in events if not start <= e.time < end] for seq, events in self.events.items()}
        return before - sum(map(len, self.events.values()))

    def reader(self) -> _Reader:
        """A reader for one thread."""
        return _Reader(self)

    def delete(self, selection: Selection | None, start: int, end: int) -> int:
        """Remove rows in [start, end) of these series; says how many rows went."""
        ids = None if selection is None else set(map(int, selection.id))
        gone = [(i, t) for i, t in self.rows if start <= t < end and (ids is None or i in ids)]
        for place in gone:
            del self.rows[place]
        return len(gone)

    def maintain(self) -> None:
        """Nothing to do in memory."""

    def size(self) -> dict[str, int]:
        """Rows, and bytes, roughly."""
        return {"rows": len(self.rows), "bytes": 200 * len(self.rows)}

    def close(self) -> None:
        """Nothing to let go of."""


class _Reader:
    def __init__(self, store: $cls):
        self._store = store

    def read(
        self,
        selection: Selection,
        start: int,
        end: int,
        every_ns: int | None = None,
        how: str = "avg",
        since_seq: int | None = None,
        until_seq: int | None = None,
    ) -> Batch:
        """Rows in [start, end), ordered by (id, time), or their buckets. Raises StoreError for senseless buckets."""
        if every_ns is not None and (every_ns <= 0 or how not in FUNCTIONS):
            raise StoreError(f"buckets of {every_ns} ns by {how!r} make no sense")
        ids = set(map(int, selection.id))
        since = -1 if since_seq is None else since_seq
        until = math.inf if until_seq is None else until_seq
        found = sorted((i, t, v) for (i, t), (seq, v) in self._store.rows.items() if i in ids and since < seq <= until)
        rows = [row for row in found if start <= row[1] < end]
        if every_ns is not None:
            known = [(i, t // every_ns * every_ns, v) for i, t, v in rows if not math.isnan(v)]
            groups = ((place, [v for _, _, v in g]) for place, g in groupby(known, key=lambda row: row[:2]))
            rows = [(*place, float(FUNCTIONS[how](values))) for place, values in groups]
        return self._batch(selection.series, rows)

    def last(self, selection: Selection, before: int | None = None) -> Batch:
        """The last row of each series, ordered by id."""
        ids = set(map(int, selection.id))
        found = sorted((i, t, v) for (i, t), (_, v) in self._store.rows.items() if i in ids)
        newest = {i: (i, t, v) for i, t, v in found if before is None or t < before}
        return self._batch(selection.series, list(newest.values()))

    def find(self, series: SeriesList, id: Column, time: Column) -> Batch:
        """The rows stored under exactly these (id, time), which are ordered by both, each once."""
        places = [(int(i), int(t)) for i, t in zip(id, time, strict=True)]
        if sorted(set(places)) != places:
            raise StoreError("rows to find must be sorted by (id, time), each once")
        rows = self._store.rows
        return self._batch(series, [(*place, rows[place][1]) for place in places if place in rows])

    def read_events(self, start: int, end: int, limit: int = 1000) -> list[Event]:
        """The newest events in [start, end), newest first."""
        return self._store.read_events(start, end, limit)

    def close(self) -> None:
        """Nothing to give back."""

    @staticmethod
    def _batch(series: SeriesList, rows: list[tuple[int, int, float]]) -> Batch:
        from array import array

        ids, times, values = zip(*rows, strict=True) if rows else ((), (), ())
        return Batch(series, array("i", ids), array("q", times), array("d", values))
'''

TASK = '''\
"""`$name`: makes new rows from stored ones. Replace `run` with your computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from almenara.model.batch import Batch
from almenara.model.series import Series
from almenara.plugin.options import Range


class $cls:
    """Multiplies every value of one input.

    Options:
        input: Expression whose rows are read.
        output: Name of the new series; labels stay as they are.
        factor: What every value is multiplied by.
        every_s: Time between two runs.
    """

    def __init__(
        self,
        *,
        input: str = "up",
        output: str = "${name}_scaled",
        factor: float = 1.0,
        every_s: Annotated[float, Range(1)] = 3600.0,
    ) -> None:
        self.inputs: Sequence[str] = (input,)
        self.outputs: Sequence[str] = (output,)
        self.every_s = every_s
        self._factor = factor

    def run(self, inputs: Mapping[str, Batch]) -> Batch:
        """New rows from the rows of each input."""
        rows = []
        for batch in inputs.values():
            for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
                made = Series(self.outputs[0], batch.series[id].labels)
                rows.append((made, int(time), float(value) * self._factor))
        return Batch.of(rows)
'''

NOTIFIER = '''\
"""`$name`: appends a line to a file for every message. Replace `notify` with your way of telling people."""

from __future__ import annotations

import asyncio
from pathlib import Path

from almenara.model.alarm import Notice
from almenara.model.errors import NotifyError
from almenara.model.time import format_time


class $cls:
    """Writes a line to a file for every message about an incident.

    Options:
        file: The file to append to.
    """

    def __init__(self, *, file: Path = Path("incidents.log")) -> None:
        self._file = file

    async def notify(self, notice: Notice) -> None:
        """Tell them; returns when it is written. Raises NotifyError."""
        incident = notice.incident
        line = f"{format_time(incident.since)} {incident.id} {notice.kind} {incident.severity} {notice.title}\\n"
        try:
            await asyncio.to_thread(self._append, line)
        except OSError as error:
            raise NotifyError(f"{self._file} cannot be written: {error.strerror}", retry=True) from error

    def _append(self, line: str) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line)
'''

#: Kind -> the source of a new plugin.
SOURCES = {
    "codec": CODEC,
    "transport": TRANSPORT,
    "collector": COLLECTOR,
    "detector": DETECTOR,
    "store": STORE,
    "task": TASK,
    "notifier": NOTIFIER,
}
