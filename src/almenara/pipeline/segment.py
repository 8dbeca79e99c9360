"""A segment: rows that were committed together, in one log file and in memory, until they are stored and judged."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from almenara.model.errors import FolderError
from almenara.pipeline.log import Buffers, LogReader, LogWriter
from almenara.pipeline.notes import HUB, Notes
from almenara.pipeline.order import sort_rows

#: A segment is closed when it has so many rows. Large ones make few parts in the store, and few merges.
SEGMENT_ROWS = 1_500_000

_ROWS_HEAD = struct.Struct("<IH")  # rows, length of the bus name
_HAS_NOTES = 1 << 15  # set in that length where notes stand behind the columns


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one commit, ids already the hub's. bus and offset: up to where a durable stream is now read, if any.
    notes: what else there is to say of it; None in a log of a hub that kept none."""

    id: np.ndarray  # int32[n]
    time: np.ndarray  # int64[n]
    value: np.ndarray  # float64[n]
    bus: str = ""
    offset: int = -1
    notes: Notes | None = None

    def __len__(self) -> int:
        return len(self.id)

    def buffers(self) -> Buffers:
        """The body of the log record."""
        name = self.bus.encode()
        columns = (np.ascontiguousarray(c).data.cast("B") for c in (self.id, self.time, self.value) if len(c))
        if self.notes is None:
            return [_ROWS_HEAD.pack(len(self), len(name)) + name, *columns]
        head = _ROWS_HEAD.pack(len(self), len(name) | _HAS_NOTES) + name
        return [head, *columns, *self.notes.buffers()]

    @classmethod
    def parse(cls, body: bytes, offset: int) -> Rows:
        """The rows of a log record."""
        n, name = _ROWS_HEAD.unpack_from(body)
        has_notes, name = name & _HAS_NOTES, name & ~_HAS_NOTES
        at = _ROWS_HEAD.size + name
        id = np.frombuffer(body, np.int32, n, at)
        time = np.frombuffer(body, np.int64, n, at + id.nbytes)
        value = np.frombuffer(body, np.float64, n, at + id.nbytes + time.nbytes)
        notes = Notes.parse(body, at + 20 * n) if has_notes else None
        return cls(id, time, value, body[_ROWS_HEAD.size :][:name].decode(), offset, notes)


class Columns:
    """Preallocated columns; reused from segment to segment, since the first touch of a page costs more than a copy."""

    def __init__(self, capacity: int):
        self.id = np.empty(capacity, np.int32)
        self.time = np.empty(capacity, np.int64)
        self.value = np.empty(capacity, np.float64)

    def __len__(self) -> int:
        return len(self.id)

    def put(self, at: int, rows: Rows) -> None:
        """Copy rows in at position `at`."""
        end = at + len(rows)
        self.id[at:end], self.time[at:end], self.value[at:end] = rows.id, rows.time, rows.value


@dataclass(slots=True)
class Segment:
    """Rows [0, n) of `columns` are committed. The offsets say up to where each bus was read when it was opened."""

    seq: int
    opened_ns: int
    columns: Columns
    offsets: dict[str, int] = field(default_factory=dict)
    n: int = 0
    commit: int = 0  # number of the commit, in this run, that its last rows are of
    notes: list[Notes] = field(default_factory=list)  # of each commit; their rows sum to n
    events: int = 0

    def put(self, rows: Sequence[Rows]) -> None:
        """Take in rows that the log has."""
        for some in rows:
            self.columns.put(self.n, some)
            self.n += len(some)
            self.notes.append(some.notes or Notes.of(HUB, len(some), self.opened_ns))
            self.events += len(self.notes[-1].events)

    def sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """id, time, value ordered by (id, time); of rows with equal series and time the last to come stays."""
        c, n = self.columns, self.n
        return sort_rows(c.id[:n], c.time[:n], c.value[:n])


def path_of(folder: Path, seq: int) -> Path:
    """The log file of segment `seq`."""
    return folder / f"{seq:010d}.rows"


def create_file(folder: Path, segment: Segment) -> LogWriter:
    """Start the log file of a segment."""
    header = {"seq": segment.seq, "opened_ns": segment.opened_ns, "offsets": segment.offsets}
    return LogWriter(path_of(folder, segment.seq), json.dumps(header).encode())


def left_over(folder: Path) -> list[Path]:
    """Log files of segments, oldest first."""
    return sorted(folder.glob("*.rows"))


def read_file(path: Path) -> tuple[Segment, Mapping[str, int], int] | None:
    """(segment, offsets after its last record, bytes cut off behind it); None where the file was never begun whole."""
    reader = LogReader(path)
    if reader.header is None:
        return None
    try:
        header = json.loads(reader.header)
        segment = Segment(header["seq"], header["opened_ns"], Columns(0), header["offsets"])
    except (ValueError, KeyError) as error:
        raise FolderError(f"{path}: its header is damaged: {error}") from error
    rows = [Rows.parse(body, offset) for body, offset in reader]
    segment.columns = Columns(sum(map(len, rows)))
    segment.put(rows)
    after = dict(segment.offsets) | {r.bus: r.offset for r in rows if r.bus}
    return segment, after, reader.torn
