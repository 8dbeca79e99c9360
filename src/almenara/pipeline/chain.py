"""The whole chain over stored rows: detectors, rules, states, incidents, policies and stages, as a hub would have gone.

Rows are judged by a judge of their own, that learns from the weeks before, and go through a rehearsal in the order of
time. Nothing is stored, nobody is told.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from almenara.alarm.rules import Rule
from almenara.model.alarm import Incident
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS
from almenara.pipeline.budgets import Budgets
from almenara.pipeline.counters import Counters
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import WARMUP_S, Judge, Watch
from almenara.pipeline.metadata import KnownMetadata
from almenara.pipeline.rehearsal import Rehearsal, Sent
from almenara.plugin.contracts import Selection, StoreReader

#: Rows read and judged at a time, about.
CHUNK_ROWS = 2_000_000
#: Rules see rows from so long before the time that counts: what is usual for a series, and which alarms go on.
LEAD_NS = DAY_NS


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be tried: series (int32[k], rising), [start, end) in ns, rules, and who would be told (as `Book`)."""

    ids: np.ndarray
    start: int
    end: int
    rules: Sequence[Rule]
    notifiers: Any
    step_ns: int = MINUTE_NS


@dataclass(slots=True)
class Chain:
    """What came of it by now. done: of the time, 0 to 1; sent, incidents: those of the time that counts; before: what
    was sent before it. left_out: rules that are not tried, and why."""

    start: int
    end: int
    done: float = 0.0
    rows: int = 0
    sent: list[Sent] = field(default_factory=list)
    before: list[Sent] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def run_chain(
    reader: StoreReader, index: SeriesIndex, watches: Sequence[Watch], wanted: Wanted, *,
    known: KnownMetadata | None = None, budgets: Budgets | None = None, when: Any = None,
) -> Generator[Chain, None, None]:  # fmt: skip
    """Go through the rows; the same object is given after each part. Raises StoreError."""
    judge = Judge(index, watches, Counters(), known, budgets)
    warmup = max([0, *(int(getattr(d, "warmup_s", WARMUP_S) * NS) for d in judge.detectors.values())])
    found = Chain(wanted.start, wanted.end)
    found.left_out = {r.name: "rules that are evaluated over stored rows are not tried" for r in wanted.rules
                      if r.is_evaluated}  # fmt: skip
    rules = [rule for rule in wanted.rules if not rule.is_evaluated]
    begin, lead = wanted.start - warmup, wanted.start - min(LEAD_NS, warmup)
    with Rehearsal(
        rules, index, wanted.notifiers, causes=replace(judge.causes, when=when), step_ns=wanted.step_ns
    ) as rehearsal:
        for low, high in _parts(reader, index, wanted.ids, begin, wanted.end, (lead, wanted.start)):
            rows = reader.read(Selection(index, wanted.ids), low, high)
            verdict, _ = judge.step(rows)
            found.rows += len(rows)
            if low >= lead:
                rehearsal.step(rows, verdict)
                rehearsal.advance(high)
            found.done = (high - begin) / (wanted.end - begin)
            _note(found, rehearsal, whole=high >= wanted.end)
            yield found


def _note(found: Chain, rehearsal: Rehearsal, *, whole: bool) -> None:
    found.sent = [one for one in rehearsal.sent if one.time >= found.start]
    found.before = [one for one in rehearsal.sent if one.time < found.start]
    if whole:
        found.incidents = [one for one in rehearsal.incidents() if _ends(one, found.end) >= found.start]


def _ends(incident: Incident, end: int) -> int:
    return incident.resolved or end


def _parts(
    reader: StoreReader, index: SeriesIndex, ids: np.ndarray, begin: int, end: int, cuts: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Spans of time of about CHUNK_ROWS rows each, cut at `cuts` too."""
    counts = reader.read(Selection(index, ids), begin, end, DAY_NS, "count")
    time, rows = np.asarray(counts.time), np.asarray(counts.value)
    if not len(time):
        return
    day, which = np.unique(time, return_inverse=True)
    per_day = dict(zip(day.tolist(), np.bincount(which, rows).tolist(), strict=True))
    low = begin = max(begin, int(day[0]))
    size = 0.0
    while low < end:
        high = low
        size = 0.0
        while high < end and size < CHUNK_ROWS:
            today = high // DAY_NS * DAY_NS
            heavy = per_day.get(today, 0.0) > CHUNK_ROWS
            step = HOUR_NS if heavy else today + DAY_NS - high
            size += per_day.get(today, 0.0) * step / DAY_NS
            high = min(end, high + step, *(cut for cut in cuts if cut > low))
            if high in cuts:
                break
        yield low, high
        low = high
