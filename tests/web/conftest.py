"""A hub in memory that keeps and judges rows, served over real HTTP: what the tests of this folder talk to."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import uvloop

from almenara.alarm.silences import Silences
from almenara.bus.feed import Feed
from almenara.codecs.influx import Influx
from almenara.config.dialects import DIALECTS
from almenara.model.alarm import Alarm, Evidence, Incident, Severity, State, Transition
from almenara.model.batch import Batch, Decoded, Event, Rejected, Verdict
from almenara.model.causes import Causes
from almenara.model.errors import DecodeError
from almenara.model.series import Series
from almenara.pipeline.counters import Counters
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.kinds import kinds_of
from almenara.pipeline.metadata import KnownMetadata
from almenara.pipeline.origins import Origins
from almenara.plugin.contracts import Context, Packet, Selection
from almenara.query import evaluate, parse
from almenara.web.app import create_app
from almenara.web.body import Limits
from almenara.web.dialects.contract import Settings
from almenara.web.server import bind, serve

S = 1_000_000_000
MINUTE = 60 * S
NOW = 1_700_000_000 * S
FUTURE = 300 * S


def memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


class TwinAlarms:
    """Alarms as a test puts them there."""

    alerts_left_out = 0

    def post(self, letter: Any, notifiers: Sequence[str]) -> int:
        return 0

    def __init__(self) -> None:
        self.now: list[Alarm] = []
        self.told: list[Transition] = []
        self.grouped: list[Incident] = []
        self.silences = Silences(memory)

    def open(self) -> list[Alarm]:
        return self.now

    def journal(self, limit: int = 100, before_ns: int | None = None) -> list[Transition]:
        found = sorted(self.told, key=lambda t: -t.time)
        return [t for t in found if before_ns is None or t.time < before_ns][:limit]

    def incidents(self, limit: int = 100, open_only: bool = False) -> list[Incident]:
        return [i for i in self.grouped if not open_only or i.state is State.FIRING][:limit]


class TwinDemo:
    """A demo that remembers what was asked of it."""

    def __init__(self) -> None:
        self.faults = {"leak": "A pump loses pressure.", "storm": "Everything at once."}
        self.broken: list[str] = []

    def break_something(self, name: str) -> None:
        self.broken.append(name)

    def injected(self) -> list[dict[str, Any]]:
        return [{"fault": name, "since": NOW // 1_000_000} for name in self.broken]


class Twin:
    """The facade of a Pipeline over a dict: rows are kept, the last write wins, 10 +- 5 is expected of every series."""

    def __init__(self) -> None:
        self.index, self.counters, self.alarms = SeriesIndex(), Counters(), TwinAlarms()
        self.feed: Feed[Any] = Feed()
        self.demo: TwinDemo | None = None
        self.metadata = KnownMetadata(memory, self.index)
        self.origins = Origins(memory)
        self.problems: dict[str, str] = {}
        self.vigil = SimpleNamespace(last=None)
        self.events: list[Event] = []
        self.addresses = {"http": "127.0.0.1:8642", "mqtt": "127.0.0.1:1883"}
        self.now, self.refusing, self.reasons = NOW, None, []
        self.packets: list[tuple[Packet, str]] = []
        self.seen_sources: list[Any] = []
        self.delay_s = 0.0
        self._rows: dict[int, dict[int, float]] = {}
        self._influx = Influx()
        self._influx.decode(b"compiled v=1", Context())  # before anything is timed

    def budgets(self) -> list[Any]:
        return []

    def clock(self) -> int:
        return self.now

    async def write(self, packet: Packet, codec: str) -> Any:
        self.packets.append((packet, codec))
        if self.refusing is not None:
            raise self.refusing
        decoded = self._decoded(packet, codec)
        batch = decoded.batch
        late = np.asarray(batch.time) > self.now + FUTURE
        rejected = list(decoded.rejected)
        if late.any():
            rejected.append(Rejected("admission", "future", int(late.sum()), "ahead of the hub's clock"))
        self.put(Batch(batch.series, *(np.asarray(c)[~late] for c in (batch.id, batch.time, batch.value))))
        self.counters.add("almenara_rows_committed_total", int((~late).sum()))
        return SimpleNamespace(rows=int((~late).sum()), rejected=rejected)

    def _decoded(self, packet: Packet, codec: str) -> Decoded:
        context = Context(packet.topic, packet.parameters, packet.content_type, packet.received_ns)
        if codec == "influx":
            return self._influx.decode(packet.payload, context)
        if codec == "number":
            return Decoded(Batch.of([(Series.of("number", topic=packet.topic), self.now, float(packet.payload))]))
        raise DecodeError(f"{codec!r} is no format known here; there are influx, number")

    def put(self, batch: Batch, transitions: Sequence[Transition] = ()) -> None:
        """Keep rows, and tell who listens."""
        used, local = np.unique(np.asarray(batch.id), return_inverse=True)
        ids = self.index.add([batch.series[int(i)].key for i in used])[local]
        time, value = np.asarray(batch.time, np.int64), np.asarray(batch.value, np.float64)
        for id, t, v in zip(ids.tolist(), time.tolist(), value.tolist(), strict=True):
            self._rows.setdefault(id, {})[t] = v
        kept = Batch(self.index, ids, time, value)
        self.feed.publish(SimpleNamespace(batch=kept, verdict=verdict_of(value), transitions=tuple(transitions)))

    async def settle(self) -> None:
        pass

    async def read(
        self, selection: Selection, start: int, end: int, every_ns: int | None = None, how: str = "avg"
    ) -> Batch:
        return self._read(selection.id, start, end, every_ns, how)

    def _read(self, ids: Any, start: int, end: int, every_ns: int | None = None, how: str = "avg") -> Batch:
        rows = [(i, t, v) for i in np.asarray(ids).tolist() for t, v in sorted(self._rows.get(i, {}).items())]
        rows = [row for row in rows if start <= row[1] < end]
        if every_ns is not None:
            buckets: dict[tuple[int, int], list[float]] = {}
            for i, t, v in rows:
                if v == v:
                    buckets.setdefault((i, t // every_ns * every_ns), []).append(v)
            fold = {"count": len, "min": min, "max": max, "last": lambda values: values[-1]}[how]
            rows = [(i, t, float(fold(values))) for (i, t), values in buckets.items()]
        columns = zip(*rows, strict=True) if rows else ((), (), ())
        id, time, value = (np.array(c, d) for c, d in zip(columns, ("int32", "int64", "float64"), strict=True))
        return Batch(self.index, id, time, value)

    def select(self, matchers: Any, start: int, end: int) -> Batch:
        """As a source of queries: (start, end]."""
        return self._read(self.index.select(matchers), start + 1, end + 1)

    async def query(self, expression: str, start: int, end: int, step_ns: int) -> Any:
        await asyncio.sleep(self.delay_s)
        return evaluate(parse(expression), start, end, step_ns, self)

    async def replay(self, ids: Any, start: int, end: int) -> Any:
        batch = self._read(ids, start, end)
        return SimpleNamespace(batch=batch, verdict=verdict_of(batch.value), causes=Causes())

    def kinds(self, ids: Any) -> np.ndarray:
        return kinds_of(self.index, self.metadata, np.asarray(ids))

    async def account(self) -> list[Any]:
        return self.seen_sources

    async def read_events(self, start: int, end: int, selectors: Any, limit: int) -> list[Event]:
        return [one for one in self.events if start <= one.time < end][:limit]

    def health(self) -> list[str]:
        return self.reasons

    @property
    def judged_to_ns(self) -> int:
        return self.now


def verdict_of(value: np.ndarray) -> Verdict:
    n = len(value)
    constant = (np.full(n, v) for v in (10.0, 5.0, 15.0, 1.0))
    return Verdict(np.abs(value - 10) / 5, *constant, np.full(n, -1, np.int16))


def transition(state: State, series: Series, since: int = NOW, time: int = NOW, **more: Any) -> Transition:
    return Transition(
        "anomaly", series, since, state, time, Severity.MAJOR, Evidence(20.0, 2.0, why="too high"), **more
    )


class Served:
    """A twin behind uvicorn, in a thread with its own loop."""

    def __init__(self, *, max_connections: int = 800, grace_s: float = 3.0, **options: Any):
        self.hub: Any = None
        self.sock = bind("127.0.0.1", 0)
        self.host, self.port = self.sock.getsockname()
        self.url = f"http://{self.host}:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=100)  # after a change of a reader the first one compiles
        self._options = options
        self._serving = (max_connections, grace_s)
        self._ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._loop = self._ready.result(10)

    def make_hub(self) -> Any:
        """What is served; called on the loop."""
        return Twin()

    async def start_hub(self) -> None:
        """Before the first request."""

    async def stop_hub(self) -> None:
        """After the last."""

    def _run(self) -> None:
        try:
            uvloop.run(self._main())
        except BaseException as error:  # a hub that cannot start is the answer to whoever waits for it
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        connections, grace_s = self._serving
        self.hub = self.make_hub()
        await self.start_hub()
        self.app = create_app(self.hub, **self._options)
        self._ready.set_result(asyncio.get_running_loop())
        where = {"stop": self._stop, "sock": self.sock, "grace_s": grace_s, "max_connections": connections}
        await serve(self.app, self.host, self.port, **where)
        await self.stop_hub()

    def on_loop(self, function: Callable[[], Any]) -> Any:
        """Do something on the hub's loop, and wait for it."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def write(self, lines: str, **params: str) -> httpx.Response:
        return self.client.post("/write", content=lines.encode(), params=params)

    def stop(self) -> float:
        """How long stopping took, in seconds."""
        began = time.monotonic()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        self.client.close()
        assert not self._thread.is_alive()
        return time.monotonic() - began


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One hub for the tests of a module; they use series of their own."""
    limits = Limits(body_bytes=200_000, inflated_bytes=1_000_000, body_timeout_s=0.5)
    one = Served(limits=limits, dialects=Settings(on=DIALECTS))
    yield one
    one.stop()


@pytest.fixture
def serving() -> Iterator[Callable[..., Served]]:
    """Start hubs with options of one's own; they are stopped in the end."""
    started: list[Served] = []

    def start(**options: Any) -> Served:
        started.append(Served(**options))
        return started[-1]

    yield start
    for one in started:
        if one._thread.is_alive():
            one.stop()
