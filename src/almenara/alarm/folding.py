"""Which alarms belong together, by what was measured before: their anomalies began together, or their residuals move.

What happens now proves nothing: two faults of one minute look alike. So only what was before counts (`GUARD_NS`).
Alarms are compared with a few leaders of each group, not each with each: the first one that belongs to no group leads
the next. 10,000 alarms of 3 causes are then some 10 comparisons each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from almenara.alarm.begins import Begins
from almenara.alarm.residuals import Residuals
from almenara.analysis.cooccurrence import cooccur, histories
from almenara.analysis.correlation import LEAST_ROWS, Ranked, correlate, ranked
from almenara.model.alarm import Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.series import Series
from almenara.model.time import HOUR_NS, MINUTE_NS, NS, format_duration

#: So long before an alarm what happens may be part of it already; a condition that lasted longer than this is cut.
GUARD_NS, LONGEST_NS = 10 * MINUTE_NS, 2 * HOUR_NS
#: Residuals are compared up to so many minutes apart, begins of anomalies so many.
MOST_LAG, TOLERANCE = 5, 3
#: A group is compared by so many of its members.
LEADERS = 8
#: Comparisons made at a time, at most: some seconds of work. What is left over is not measured.
MOST_COMPARED = 600_000


@dataclass(frozen=True, slots=True)
class Grouping:
    """What folds alarms into incidents: labels that must be equal, within which time of each other alarms fire, whether
    what was measured counts too, and how much memory residuals may take."""

    group_by: tuple[str, ...] = ()
    window_s: float = 300.0
    correlate: bool = True
    residuals_mb: float = 64.0

    @property
    def window_ns(self) -> int:
        """The time within which alarms fire together."""
        return round(self.window_s * NS)


@dataclass(frozen=True, slots=True)
class Leader:
    """A member of an incident that others are compared with. lag_ns: how much it follows the incident's first."""

    series: bytes
    incident: int
    lag_ns: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """That a series belongs to an incident that is open already, or (0) to another series that fires now."""

    incident: int
    root: bytes
    reason: str
    lag_ns: int


@dataclass(slots=True)
class Links:
    """What is known of series that fire: of: those that belong somewhere; known: those with enough history to say that
    they belong nowhere else."""

    of: dict[bytes, Link] = field(default_factory=dict)
    known: set[bytes] = field(default_factory=set)


class History:
    """What was measured of all series, small enough to be kept in memory; for the flush thread."""

    def __init__(self, grouping: Grouping, find: Callable[[Sequence[bytes]], np.ndarray]):
        """find: ids of series by their keys, -1 where there is none."""
        self._find = find
        self.residuals = Residuals(grouping.residuals_mb if grouping.correlate else 0.0)
        self.begins = Begins()

    def step(self, batch: Batch, verdict: Verdict) -> None:
        """Take in a segment, once its alarms are decided."""
        if not len(batch):
            return
        self.residuals.step(batch, verdict)
        time = np.asarray(batch.time)
        self.begins.watch(int(time.min()) // MINUTE_NS)
        if verdict.nth is not None:
            rows = np.flatnonzero(np.asarray(verdict.nth) == 1)
            minutes = time[rows] // MINUTE_NS
            self.begins.add(zip(np.asarray(batch.id)[rows].tolist(), minutes.tolist(), strict=True))

    def fired(self, changes: Iterable[tuple[bytes, int]]) -> None:
        """Take in alarms that fired: (series, since when); those of other systems have series that nobody else has."""
        changes = list(changes)
        if changes:
            keys = [key for key, _ in changes]
            names = _names(keys, self._find(keys))
            self.begins.add((name, since // MINUTE_NS) for name, (_, since) in zip(names, changes, strict=True))

    def links(self, fired: Sequence[Transition], leaders: Sequence[Leader]) -> Links:
        """What is known of the series of alarms that fire now, and leaders of incidents that are open."""
        series = list(dict.fromkeys(change.series.key for change in fired))
        cut = min(max(change.since, change.time - LONGEST_NS) for change in fired) - GUARD_NS
        keys = [*(leader.series for leader in leaders), *series]
        return _Round(self, keys, self._find(keys), cut // MINUTE_NS, leaders).links()

    def state(self) -> dict[str, np.ndarray]:
        """As arrays, for a snapshot."""
        return self.residuals.state() | self.begins.state()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.residuals.restore(arrays)
        self.begins.restore(arrays)


class _Round:
    """One search: series by position, the leaders of open incidents first."""

    def __init__(
        self, history: History, keys: list[bytes], ids: np.ndarray, before: int, leaders: Sequence[Leader]
    ):  # fmt: skip
        self._keys, self._leaders = keys, leaders
        residuals = history.residuals.of(ids, before)
        self._measured = np.count_nonzero(np.isfinite(residuals), axis=1) >= LEAST_ROWS
        self._ranked = ranked(residuals[self._measured])
        self._row = np.cumsum(self._measured) - 1  # of `_ranked`
        at, minutes, self._since = history.begins.of(_names(keys, ids), before)
        self._begins = histories(at, minutes, len(keys))
        self._before = before
        fresh = len(keys) - len(leaders)
        self._tries = max(1, fresh * (fresh - 1) // 2 + fresh * len(leaders))
        self._found = Links()
        self._lag = {k: leader.lag_ns for k, leader in enumerate(leaders)}

    def links(self) -> Links:
        first, n = len(self._leaders), len(self._keys)
        self._found.known = {self._keys[k] for k in np.flatnonzero(self._measured).tolist()}
        rest = self._join(np.arange(first, n), list(range(first)))
        compared = 0
        while len(rest) > 1 and compared < MOST_COMPARED:
            seed, rest = int(rest[0]), rest[1:]
            self._lag[seed], root = 0, self._keys[seed]
            leading = [seed]
            while leading and len(rest) and compared < MOST_COMPARED:
                compared += len(rest) * len(leading)
                left = self._join(rest, leading, root)
                new = np.setdiff1d(rest, left, assume_unique=True)
                rest, leading = left, new[:: max(1, len(new) // LEADERS)][:LEADERS].tolist()
        return self._found

    def _join(self, rest: np.ndarray, leading: list[int], root: bytes = b"") -> np.ndarray:
        """Link those of `rest` that belong to one of the leading; the others are left over."""
        if not len(rest) or not leading:
            return rest
        for first in range(0, len(leading), LEADERS):
            some = np.array(leading[first : first + LEADERS])
            rest = rest[~self._by_begins(rest, some, root)]
            rest = rest[~self._by_residuals(rest, some, root)]
        return rest

    def _by_begins(self, rest: np.ndarray, leading: np.ndarray, root: bytes) -> np.ndarray:
        span = self._before - np.maximum(self._since[rest][:, None], self._since[leading][None])
        together = cooccur(_some(self._begins, rest), _some(self._begins, leading), np.maximum(span, 0), TOLERANCE)
        joins = together.begins(self._tries)
        best = np.where(joins, together.p, 2.0).argmin(axis=1)
        for k in np.flatnonzero(joins.any(axis=1)).tolist():
            to = best[k]
            said = f"began together with {{}} {together.count[k, to]} of {together.of[k, to]} times"
            self._link(int(rest[k]), int(leading[to]), root, said, 0)
        linked: np.ndarray = joins.any(axis=1)
        return linked

    def _by_residuals(self, rest: np.ndarray, leading: np.ndarray, root: bytes) -> np.ndarray:
        linked = np.zeros(len(rest), np.bool_)
        mine, leading = np.flatnonzero(self._measured[rest]), leading[self._measured[leading]]
        if not len(mine) or not len(leading):
            return linked
        match = correlate(self._of(rest[mine]), self._of(leading), MOST_LAG)
        moves = match.moves(self._tries)
        best = np.where(moves, np.abs(match.r), -1.0).argmax(axis=1)
        for k in np.flatnonzero(moves.any(axis=1)).tolist():
            to, lag = best[k], -int(match.lag[k, best[k]])  # by how many minutes it follows the leader
            later = f"at a lag of {format_duration(60.0 * abs(lag))}" if lag else "within the same minute"
            said = f"moves together with {{}}: correlation {match.r[k, to]:.2f} {later}"
            self._link(int(rest[mine[k]]), int(leading[to]), root, said, lag * MINUTE_NS)
        linked[mine] = moves.any(axis=1)
        return linked

    def _link(self, one: int, leader: int, root: bytes, said: str, lag_ns: int) -> None:
        key, self._lag[one] = self._keys[one], self._lag[leader] + lag_ns
        incident = self._leaders[leader].incident if leader < len(self._leaders) else 0
        text = said.format(Series.from_key(self._keys[leader]))
        self._found.of[key] = Link(incident, root, text, self._lag[one])

    def _of(self, positions: np.ndarray) -> Ranked:
        return self._ranked.take(self._row[positions])


def _names(keys: Sequence[bytes], ids: np.ndarray) -> list[int | bytes]:
    """The ids of series, their keys where there is none."""
    return [id if id >= 0 else key for id, key in zip(ids.tolist(), keys, strict=True)]


def _some(begins: tuple[np.ndarray, np.ndarray], positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The histories of some series."""
    at, ends = begins
    sizes = ends[positions + 1] - ends[positions]
    where = np.repeat(ends[positions] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    return at[where], np.concatenate(([0], np.cumsum(sizes)))
