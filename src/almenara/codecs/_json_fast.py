"""Drives the compiled JSON reader over many payloads, and gives what it does not know to the general reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from almenara.codecs import _json_kernel as kernel
from almenara.codecs._json_general import General, Rows
from almenara.codecs._json_loop import parse
from almenara.codecs._json_memo import Memory, room
from almenara.codecs._json_records import MAX_KEYS, Inexact, Refusals
from almenara.model.batch import Batch, Decoded, DecodedMany
from almenara.model.errors import DecodeError
from almenara.plugin.contracts import Context, Packet

_PENDING = 1 << 20  # bytes of identities that one call may learn


@dataclass(slots=True)
class _Aside:
    """What the general reader added. runs: (payload, the compiled row before which they belong, how many rows)."""

    rows: Rows
    runs: list[tuple[int, int, int]] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)  # payloads whose compiled rows do not count
    notes: dict[int, Decoded | DecodeError] = field(default_factory=dict)
    _marked: int = 0

    def mark(self, payload: int, row: int) -> None:
        """Say where the rows belong that were added since the last call."""
        self.runs.append((payload, row, len(self.rows.id) - self._marked))
        self._marked = len(self.rows.id)

    def back(self, runs: int, rows: int) -> None:
        """Take back what was added after so many runs and rows."""
        del self.runs[runs:]
        for column in (self.rows.id, self.rows.time, self.rows.value):
            del column[rows:]
        self._marked = rows


class Fast:
    """Reads many payloads at a time; what it remembers is in `Memory`, its series are those of the general reader."""

    def __init__(self, general: General, unit_ns: int):
        self._general, self._unit_ns = general, unit_ns
        words = {int.from_bytes(word.encode(), "big"): value for word, value in general.rules.words.items()}
        self._words = np.array(list(words), np.int64), np.array(list(words.values()), np.float64)
        self._rows_per_byte = 0.0
        self.forget()

    def forget(self) -> None:
        """Begin with an empty memory; the general reader forgets at the same time."""
        self._memory = Memory(self._general.rules)

    @property
    def full(self) -> bool:
        """Whether it remembers too much."""
        return self._memory.full

    def read_one(self, payload: bytes, context: Context) -> Decoded:
        """Rows of one payload. Raises DecodeError."""
        found = self.read([context], [payload])
        note = found.notes.get(0)
        if isinstance(note, DecodeError):
            raise note
        if note is None:
            return Decoded(found.batch)
        return Decoded(found.batch, note.events, note.rejected)

    def read(self, packets: Sequence[Packet | Context], payloads: Sequence[bytes] | None = None) -> DecodedMany:
        """Rows of all payloads, which are those of the packets unless they are given."""
        payloads = [p.payload for p in packets] if payloads is None else payloads  # type: ignore[union-attr]
        inp = self._input(packets, payloads)
        out, s = self._parse(inp)
        aside = _Aside(Rows(self._general.table))
        for p, entries in groupby(out.slow[: s[kernel.SLOW]].tolist(), key=lambda entry: entry[kernel.S_PAYLOAD]):
            self._aside(p, list(entries), payloads[p], packets[p], inp, out, aside)
        rows = int(s[kernel.ROW])
        self._rows_per_byte = rows / max(len(inp.buf), 1)
        return self._merged(out, rows, len(payloads), aside)

    def _input(self, packets: Sequence[Packet | Context], payloads: Sequence[bytes]) -> kernel.Input:
        n, known = len(payloads), self._memory.topics
        offsets = np.zeros(n + 1, np.int64)
        np.cumsum(np.fromiter(map(len, payloads), np.int64, n), out=offsets[1:])
        buf = np.frombuffer(payloads[0] if n == 1 else b"".join(payloads), np.uint8)
        topics = [known.setdefault(p.topic, len(known)) for p in packets]
        received = np.fromiter([p.received_ns for p in packets], np.int64, n)
        return kernel.Input(buf, offsets, np.array(topics, np.int64), received)

    def _parse(self, inp: kernel.Input) -> tuple[kernel.Output, np.ndarray]:
        n = len(inp.topics)
        rows = int(len(inp.buf) * self._rows_per_byte * 1.1) + n + 64
        out = kernel.Output(
            np.empty(rows, np.int32), np.empty(rows, np.int64), np.empty(rows, np.float64),
            np.empty(n + 1, np.int64), np.empty((n + 64, 8), np.int64),
            np.empty(min(2 * len(inp.buf) + 64 * n, _PENDING), np.uint8), np.empty(kernel.SCRATCH, np.uint8),
            np.empty(MAX_KEYS, np.float64),
        )  # fmt: skip
        rules, utc = self._general.rules, self._general.naming.zone is None
        seed = self._memory.seed
        rule = kernel.Rule(self._unit_ns, utc, rules.only_listed, rules.ignore_texts, seed, *self._words)
        s = np.zeros(kernel.CURSOR, np.int64)
        s[kernel.ENTRY] = -1
        s[kernel.STAMP] = self._memory.view.nodes[:, kernel.SEEN].max()
        while True:
            parse(inp, rule, self._memory.view, out, s)
            if s[kernel.STATUS] == kernel.DONE:
                return out, s
            if s[kernel.STATUS] == kernel.ROWS_FULL:
                out = out._replace(
                    **{name: room(getattr(out, name), 2 * len(out.id) + MAX_KEYS) for name in ("id", "time", "value")}
                )
            else:
                out = out._replace(slow=room(out.slow, 2 * len(out.slow)))

    def _aside(
        self, p: int, entries: list[list[int]], payload: bytes, packet: Packet | Context, inp: kernel.Input,
        out: kernel.Output, aside: _Aside,
    ) -> None:  # fmt: skip
        """Give what is listed of one payload to the general reader."""
        context = packet if isinstance(packet, Context) else _context(packet)
        whole = entries[0][kernel.S_START] < 0
        before = len(aside.runs), len(aside.rows.id)
        if not whole:
            refusals, base = Refusals(), int(inp.offsets[p])
            try:
                for entry in entries:
                    text = payload[entry[kernel.S_START] - base : entry[kernel.S_STOP] - base]
                    document, ids = self._general.one(text, _place(entry), context, aside.rows, refusals)
                    aside.mark(p, entry[kernel.S_ROW])
                    self._learn(entry, document, ids, out.pending)
            except (ValueError, Inexact):
                whole = True
                aside.undone.append(p)
                aside.back(*before)
            else:
                if refusals.total or aside.rows.events:
                    aside.notes[p] = Decoded(_NOTHING, aside.rows.events, refusals.listed())
                    aside.rows.events = []
        if whole:
            self._whole(p, entries[0], payload, context, out, aside)

    def _whole(
        self, p: int, entry: list[int], payload: bytes, context: Context, out: kernel.Output, aside: _Aside
    ) -> None:
        aside.rows.events = []
        try:
            decoded = self._general.decode(payload, context)
        except DecodeError as error:
            aside.notes[p] = error
            aside.mark(p, int(out.starts[p]))
            return
        batch = decoded.batch
        aside.rows.id.extend(batch.id)
        aside.rows.time.extend(batch.time)
        aside.rows.value.extend(batch.value)
        aside.mark(p, int(out.starts[p]))
        if decoded.rejected or decoded.events:
            aside.notes[p] = decoded
        elif entry[kernel.S_START] < 0 and entry[kernel.S_KNOWN] >= 0:
            self._learn(entry, None, list(batch.id), out.pending)

    def _learn(self, entry: list[int], document: dict | None, ids: list[int], pending: np.ndarray) -> None:
        at = entry[kernel.S_KNOWN]
        if at == kernel.NEW_KEY and document is not None:
            self._memory.learn_keys(document)
        elif at >= 0 and ids and len(ids) == entry[kernel.S_VALUES]:
            size = int.from_bytes(pending[at : at + 8].tobytes(), "little")
            self._memory.learn(pending[at + 8 : at + 8 + size].tobytes(), ids)

    def _merged(self, out: kernel.Output, rows: int, payloads: int, aside: _Aside) -> DecodedMany:
        columns = [out.id[:rows], out.time[:rows], out.value[:rows]]
        owner = np.repeat(np.arange(payloads), np.diff(out.starts))
        if aside.runs:
            payload, before, count = np.array(aside.runs, np.int64).T
            if aside.undone:
                kept = ~np.isin(owner, aside.undone)
                before = np.concatenate([[0], np.cumsum(kept)])[before]
                columns, owner = [column[kept] for column in columns], owner[kept]
            at = np.repeat(before, count)
            new = [np.asarray(column) for column in (aside.rows.id, aside.rows.time, aside.rows.value)]
            if len(owner) == 0:
                columns, owner = new, np.repeat(payload, count)
            else:
                columns = [np.insert(column, at, more) for column, more in zip(columns, new, strict=True)]
                owner = np.insert(owner, at, np.repeat(payload, count))
        return DecodedMany(Batch(self._general.table, *columns), owner, aside.notes)


_NOTHING = Batch.of(())


def _context(packet: Packet) -> Context:
    return Context(packet.topic, packet.parameters, packet.content_type, packet.received_ns)


def _place(entry: Sequence[int]) -> str:
    place, number = entry[kernel.S_PLACE], entry[kernel.S_NUMBER]
    return {kernel.ITEM: f"item {number}", kernel.LINE: f"line {number}"}.get(place, "")
