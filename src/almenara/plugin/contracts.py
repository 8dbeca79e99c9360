"""The contracts: what each kind of plugin promises and may rely on. Read this file first.

A plugin is one file and one line among the entry points of `pyproject.toml`. Its constructor's keyword arguments are
its options: their types are the validation, their defaults the defaults, the docstring the manual page: one indented
line `name: text` for each, under a line `Options:` (`almenara.plugin.options` says more; `Annotated[int, Range(0, 2)]`
sets bounds, `Secret` hides a text, a float named `*_s` also takes "5m"). Checks of each contract run on every
registered plugin (`almenara.plugin.checks`).

Transports, collectors and notifiers are async and run on the hub's loop. Everything else is called from worker
threads, does no input or output of its own (stores excepted), and reads no clock. Any plugin may add `check() -> None`
(can I reach what I need? raises AlmenaraError) and `close() -> None`; the async kinds make them coroutines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from almenara.model.alarm import Notice
from almenara.model.batch import Batch, Column, Decoded, DecodedMany, Event, Rejected, Verdict
from almenara.model.series import SeriesList

# --- bytes <-> rows ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a payload besides its bytes. received_ns is the time of rows that carry none."""

    topic: str = ""  # MQTT topic or HTTP path
    parameters: Mapping[str, str] = field(default_factory=dict)  # HTTP query parameters
    content_type: str = ""
    received_ns: int = 0


@runtime_checkable
class Codec(Protocol):
    """Bytes of one format to rows and back. Pure: the same bytes and context give the same rows, nothing else happens.

    One instance is used by one thread at a time. It may use one growing `SeriesTable` for all its batches.
    """

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Every readable row; unreadable ones are in `rejected`. Raises DecodeError only when nothing can be read."""

    def encode(self, batch: Batch) -> bytes:
        """The batch in this format; decode(encode(b)) gives the rows of b back."""


@runtime_checkable
class ManyCodec(Codec, Protocol):
    """A codec that reads many payloads in one go, for links that bring thousands of small ones."""

    def decode_many(self, packets: Sequence[Packet]) -> DecodedMany:
        """What `decode` gives of each packet, rows of equal series in the same order. Raises no DecodeError: it stands
        among the notes, at the packet of which nothing can be read."""


# --- links ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a packet: rows kept, rows rejected and why; or an error, and nothing was kept.

    error: DecodeError, nothing in it can be read and it need not come again; Refused, it was not taken now."""

    rows: int = 0
    rejected: Sequence[Rejected] = ()
    error: Exception | None = None


def _nobody_asks(outcome: Outcome) -> None:
    """For packets whose sender waits for nothing."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One payload as it arrived, and where to say what became of it."""

    topic: str
    payload: bytes
    received_ns: int
    source: str = ""  # who sent it: "mqtt:client-7", "http:127.0.0.1"; the unit of the ledger and of the page Sources
    parameters: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    qos: int = 1  # 0 = best effort, counted apart
    offset: int = -1  # position in a durable stream; -1 none
    codec: str = ""  # the codec that reads it, where the link knows; empty = by topic
    key: str = ""  # the sender's name for this payload: sent again under the same one it is answered, not kept twice
    done: Callable[[Outcome], None] = _nobody_asks  # called once, from any thread: what became of it


@runtime_checkable
class Transport(Protocol):
    """Bytes over a link. Reconnects by itself, with back-off; `check` says what is wrong.

    It may have attributes that the hub looks at: `codec`, the name of what reads its payloads where a configuration
    says nothing else; `answers`, True where its senders wait to be told and send again (else packets that are refused
    are offered to the hub again, and nothing more is read meanwhile); `dropped`, a Counter by reason of all that never
    became a packet, which only grows; `problem`, what its senders do wrong, in words.
    """

    def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """What arrived, as many packets at a time as one read brought."""

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send one payload; returns when the other side has taken it."""


@runtime_checkable
class Collector(Protocol):
    """The world to rows. Most subclass `almenara.collectors.Poll` and write only `collect() -> Batch`."""

    def batches(self) -> AsyncIterator[Batch]:
        """Rows as they come, until closed."""


# --- judging ----------------------------------------------------------------------------------------------------------


@runtime_checkable
class Detector(Protocol):
    """Judges rows against what their series have learned. Constant memory a series; state lies in slots by id.

    Rows come ordered by (id, time), each later than all rows of its series before it. The result never depends on how
    rows were cut into batches.
    """

    #: What Verdict.cause points into: words that can begin a sentence, "fell suddenly"; people then read "Fell
    #: suddenly: 3.2, expected 5 to 15" (`almenara.model.causes.why`).
    causes: Sequence[str]

    def step(self, batch: Batch) -> Verdict:
        """Judge each row against what came before it, then learn it."""

    def look(self, batch: Batch) -> Verdict:
        """As `step`, but leave the state as it was."""

    def state(self) -> dict[str, Column]:
        """Everything learned, as arrays whose first axis is the series id; copies, safe to write to disk."""

    def restore(self, arrays: Mapping[str, Column]) -> None:
        """Go on from what `state` gave. Raises ValueError where the arrays do not fit this version or these options."""

    # A detector may have `p_limit: float`, the probability that belongs to a score of 1 (1e-4 where it does not say),
    # `p_limit_of_s: float` where that is not the probability of one row but of so much time,
    # and `other_causes`, the numbers of causes that are not about how far a value is from what is expected. It may
    # also have `adopt(ids: int32[k], other: Self) -> None`: what is known of series ids[i] is then on
    # what `other`, made with the same options, has learned of its series i. Where late rows have changed the past of a
    # series it is judged again so; without `adopt` late rows are only stored.
    # With `part(first: int, end: int) -> dict[str, Column]`, what `state` gives of series first to end - 1 alone, and
    # `restore_part(first: int, arrays) -> None`, which goes on from that and raises ValueError as `restore` does, what
    # many series have taught is written down in slices, each at its own moment, between two segments; without them all
    # at once, and nothing is judged meanwhile. A detector that has them judges each series by its own rows alone.
    # Parts are given back in any order, each once, to a detector that has learned nothing.
    # One that is told `calendars` when it is made may have `replace_calendars(calendars, series: SeriesList)`, an
    # iterator of small steps, between which it judges as before; with the last one it goes on with these calendars, and
    # may have other `causes`. Without it a hub has to be started again for it to hear of other calendars.


# --- keeping ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which series: ids and the table they point into. id: int32[k], sorted, each once."""

    series: SeriesList
    id: Column


@runtime_checkable
class Store(Protocol):
    """Batches on disk. One thread writes; several read, each through `reader()`. A store that outlives the hub also has
    `last_seq() -> int`, the highest seq it was given (-1 none), so that a hub which lost its notes gives none again.

    Rows are unique by (id, time); of two the one with the higher seq wins, inside one batch the later one. Values come
    back bit for bit, NaN included; nothing is interpolated, and nothing is deleted unless `delete` is called.
    """

    def add_series(self, first_id: int, keys: Sequence[bytes]) -> None:
        """Keep these keys as ids first_id, first_id + 1...; giving some again does nothing."""

    def series_keys(self) -> Iterator[Sequence[bytes]]:
        """All keys in the order of their ids, in chunks."""

    def append(self, batch: Batch, seq: int) -> None:
        """Keep all rows or none. Rows are sorted by (id, time) and unique. The same seq again with the same rows does
        nothing."""

    def append_events(self, events: Sequence[Event], seq: int) -> None:
        """Keep events; the same seq again does nothing."""

    def read_events(self, start: int, end: int, limit: int = 1000) -> list[Event]:
        """The newest events in [start, end), newest first."""

    def delete_events(self, start: int, end: int) -> int:
        """Remove events in [start, end); says how many went."""

    def reader(self) -> StoreReader:
        """A reader for one thread; sees everything whose append has returned."""

    def delete(self, selection: Selection | None, start: int, end: int) -> int:
        """Remove rows in [start, end) of these series (None: of all); says how many rows went."""

    def maintain(self) -> None:
        """A little housekeeping, called about once a minute from the writing thread: rollups brought up to date, those
        that late rows touched made again."""

    def size(self) -> dict[str, int]:
        """`rows` and `bytes` on disk; more where the engine tells."""

    def close(self) -> None:
        """Write what is pending and let go of the folder."""


@runtime_checkable
class StoreReader(Protocol):
    """Reading, from one thread."""

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
        """Rows in [start, end) in ns, ordered by (id, time). With every_ns one row a non-empty bucket [k * every_ns,
        (k + 1) * every_ns), its time the bucket's start, its value by `how`: avg, min, max, sum, count, last, first;
        NaN values are left out of buckets. With since_seq only rows that came with a higher
        seq; with until_seq only those with none higher (one that a later row replaced may be missing)."""

    def last(self, selection: Selection, before: int | None = None) -> Batch:
        """The last row of each series (before `before`), for those that have one, ordered by id."""

    def find(self, series: SeriesList, id: Column, time: Column) -> Batch:
        """The rows stored under exactly these (id, time), which are ordered by both, each once; of those that are not
        there, nothing."""

    def read_events(self, start: int, end: int, limit: int = 1000) -> list[Event]:
        """The newest events in [start, end), newest first."""

    def close(self) -> None:
        """Give the session back."""


# --- manufacturing and telling ----------------------------------------------------------------------------------------


@runtime_checkable
class Task(Protocol):
    """Rows to new rows. Declared: `inputs` (expressions), `outputs` (series names), `every_s` or trigger, limits."""

    inputs: Sequence[str]
    outputs: Sequence[str]

    def run(self, inputs: Mapping[str, Batch]) -> Batch:
        """New rows from the rows of each input."""


@runtime_checkable
class Notifier(Protocol):
    """An incident to people and systems. It reads nothing itself: all that it tells stands in the notice."""

    async def notify(self, notice: Notice) -> None:
        """Tell them; returns when the other side has it. Raises NotifyError(retry=...). The same notice may come again
        after a failure, also in the next run of the hub; its id says so."""

    # A notifier that shows the graph of a notice has `shows_graph = True`; for others none is drawn.
    # A notifier through which people can also ask has `commands() -> AsyncIterator[Command]`, what they ask, from those
    # alone who may; it ends when it is closed. It raises nothing for what a person does wrong, and tells that person.
    # A command is done when the next one is asked for; one that was not may come again, also in the next run of the
    # hub. What orders mean must not change by that. Such a notifier may have `problem`, why nobody can ask now, in
    # words, and `dropped`, a Counter by reason of what was no command, which only grows.


#: Kind of plugin -> (entry-point group, contract). The folders of `almenara` carry the same names.
KINDS: dict[str, tuple[str, Any]] = {
    "codec": ("almenara.codecs", Codec),
    "transport": ("almenara.transports", Transport),
    "collector": ("almenara.collectors", Collector),
    "detector": ("almenara.detectors", Detector),
    "store": ("almenara.stores", Store),
    "task": ("almenara.tasks", Task),
    "notifier": ("almenara.notifiers", Notifier),
}
