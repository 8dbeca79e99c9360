"""Many packets at once: each codec reads all of its own in one go, and their rows become one batch in packet order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from almenara.model.batch import Batch, Decoded, DecodedMany, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import SeriesList, SeriesTable
from almenara.pipeline.admission import Turned
from almenara.pipeline.decoding import Decoders
from almenara.plugin.contracts import Outcome, Packet


def decode_together(decoders: Decoders, packets: Sequence[Packet]) -> DecodedMany:
    """The rows of all packets, each read by its codec or that of its topic. Called from a decoder thread."""
    by_codec: dict[str, list[int]] = {}
    for at, packet in enumerate(packets):
        name = packet.codec or decoders.for_topic(packet.topic)
        if name in by_codec:
            by_codec[name].append(at)
        else:
            by_codec[name] = [at]
    parts, notes = [], {}
    for name, mine in by_codec.items():
        if len(by_codec) == 1:
            return decode_many(decoders, name, packets)
        part = decode_many(decoders, name, [packets[at] for at in mine])
        where = np.array(mine, np.int64)
        parts.append((part.batch, where[part.owner]))
        notes.update({mine[at]: note for at, note in part.notes.items()})
    return _in_order(parts, notes)


def decode_many(decoders: Decoders, name: str, packets: Sequence[Packet]) -> DecodedMany:
    """The rows of packets of one codec."""
    many = decoders.decode_many(name, packets) if len(packets) > 1 else None
    if many is not None:
        return many
    parts: list[tuple[Batch, np.ndarray]] = []
    notes: dict[int, Decoded | DecodeError] = {}
    for at, packet in enumerate(packets):
        try:
            decoded = decoders.decode(name, packet)
        except DecodeError as error:
            notes[at] = error
            continue
        if len(decoded.batch):
            parts.append((decoded.batch, np.full(len(decoded.batch), at)))
        if decoded.rejected or decoded.events or decoded.metadata:
            notes[at] = decoded
    return _in_order(parts, notes)


def outcomes_of(many: DecodedMany, rows: np.ndarray, turned: Sequence[Turned]) -> tuple[list[Outcome], list[int]]:
    """(what became of each packet, the positions of those of which there is more to say than rows kept).

    rows: int[k], the rows that each packet had; turned: what admission turned away of them all."""
    lost: dict[int, list[Rejected]] = {}
    kept = rows.copy()
    for one in turned:
        mine, counts = np.unique(np.asarray(many.owner)[one.at], return_counts=True)
        kept[mine] -= counts
        for at, count in zip(mine.tolist(), counts.tolist(), strict=True):
            lost.setdefault(at, []).append(replace(one.rejected, rows=count))
    plain = {n: Outcome(n) for n in set(kept.tolist())}
    outcomes = [plain[n] for n in kept.tolist()]
    remarkable = sorted(many.notes.keys() | lost.keys())
    for at in remarkable:
        note = many.notes.get(at)
        if isinstance(note, DecodeError):
            outcomes[at] = Outcome(error=note)
        else:
            outcomes[at] = Outcome(int(kept[at]), [*(note.rejected if note else ()), *lost.get(at, ())])
    return outcomes, remarkable


def _in_order(parts: list[tuple[Batch, np.ndarray]], notes: dict[int, Decoded | DecodeError]) -> DecodedMany:
    """Batches and the packets that their rows belong to, as one, ordered by packet."""
    if not parts:
        return DecodedMany(Batch(SeriesTable(), *_none()), np.empty(0, np.int64), notes)
    table, ids = _one_table([batch for batch, _ in parts])
    owner = np.concatenate([of for _, of in parts])
    time = np.concatenate([np.asarray(batch.time, np.int64) for batch, _ in parts])
    value = np.concatenate([np.asarray(batch.value, np.float64) for batch, _ in parts])
    if (owner[1:] < owner[:-1]).any():
        order = np.argsort(owner, kind="stable")
        ids, time, value, owner = ids[order], time[order], value[order], owner[order]
    return DecodedMany(Batch(table, ids, time, value), owner, notes)


def _none() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)


def _one_table(batches: list[Batch]) -> tuple[SeriesList, np.ndarray]:
    """(a table, int32[n], ids into it) of the rows of all batches; codecs share theirs between payloads already."""
    if all(batch.series is batches[0].series for batch in batches):
        return batches[0].series, np.concatenate([np.asarray(batch.id, np.int32) for batch in batches])
    shared: _Shared = _local.__dict__.setdefault("shared", _Shared())
    if len(shared.table) > MAX_SHARED:
        shared = _local.shared = _Shared()
    return shared.table, np.concatenate([shared.ids(batch) for batch in batches])


#: Series of several codecs in one table, before it is begun anew.
MAX_SHARED = 1_000_000
_local = threading.local()


class _Shared:
    """One growing table over those of several codecs; a series that was seen before needs no Python."""

    def __init__(self) -> None:
        self.table = SeriesTable()
        self._known: WeakKeyDictionary[SeriesList, np.ndarray] = WeakKeyDictionary()

    def ids(self, batch: Batch) -> np.ndarray:
        """int32[n]: ids of a batch's rows in this table."""
        local, series = np.asarray(batch.id, np.int32), batch.series
        known = self._known.get(series)
        if known is None or len(known) < len(series):
            grown = np.full(len(series), -1, np.int32)
            grown[: 0 if known is None else len(known)] = () if known is None else known
            self._known[series] = known = grown
        found = known[local]
        if (found < 0).any():
            new = np.unique(local[found < 0])
            known[new] = [self.table.intern(series.keys[id]) for id in new.tolist()]
            found = known[local]
        return found
