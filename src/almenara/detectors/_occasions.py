"""Which calendars hold for which series, and what their occasions do to each: the arrays beside a detector's slots."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from almenara.analysis.effects import EFFECT, SCOPE, TEXTS
from almenara.analysis.occasions import Calendar
from almenara.model.series import Series, SeriesList
from almenara.model.time import DAY_NS, NS

#: In place of a row of effects: not looked up yet; looked up, and the calendar is not of this series.
_NOT_YET, _NOT = -1, -2
#: A record that is copied as a whole, many times faster than field by field.
_BYTES = np.dtype((np.void, EFFECT.itemsize))
#: A replay learns from so many occasions before what it shows, where that is not too long ago.
_OCCASIONS, _LONGEST_S = 3.5, 120 * DAY_NS // NS
#: Series whose calendars are looked up in one step.
_AT_ONCE = 2000


class Occasions:
    """Calendars, and a growing table of effects: one for each series that a calendar holds for."""

    def __init__(self, calendars: Sequence[Calendar], first_cause: int) -> None:
        names = [one.name for one in calendars]
        if len(set(names)) < len(names):
            raise ValueError(f"calendars: must have names that differ; got {', '.join(sorted(names))}")
        self.texts = tuple(text.format(name) for name in names for text in TEXTS)
        self._identity = "\0".join(text for one in calendars for text in (one.name, one.match))
        self._matchers = [_matchers(one.match) for one in calendars]
        ends = np.cumsum([0, *(len(one.from_s) for one in calendars)], dtype=np.int64)
        plan = [(a, b, c.kind, c.part_s) for a, b, c in zip(ends[:-1], ends[1:], calendars, strict=True)]
        self._plan = np.array(plan, np.int64).reshape(len(plan), 4)
        self._from_s, self._to_s = np.zeros((2, int(ends[-1])), np.int64)
        for (a, b, *_), one in zip(plan, calendars, strict=True):
            self._from_s[a:b], self._to_s[a:b] = one.from_s, one.to_s
        self._first_cause = first_cause
        self.forget()

    def forget(self) -> None:
        """Know of no series."""
        self._scope, self._rows = np.zeros(0, SCOPE), np.zeros((0, len(self._plan)), np.int32)
        self._effects, self._used = np.zeros(0, EFFECT), 0

    @property
    def warmup_s(self) -> int:
        """How much history a replay needs to know most effects; 0 without calendars."""
        gaps = [float(np.median(np.diff(self._from_s[a:b]))) for a, b, *_ in self._plan.tolist() if b - a > 1]
        return int(min(_OCCASIONS * max(gaps, default=0.0), _LONGEST_S))

    def arrays(self) -> tuple[Any, ...]:
        """The argument `known` of analysis.seasonal_run.run."""
        return self._scope, self._rows, self._effects, self._plan, self._from_s, self._to_s, self._first_cause

    def spares(self) -> tuple[Any, ...]:
        """Room to judge rows that are not learned, for one thread."""
        n = len(self._plan)
        return np.zeros(1, SCOPE), np.zeros((1, n), np.int32), np.zeros(n, EFFECT)

    def look_up(self, ids: np.ndarray, series: SeriesList) -> None:
        """Give each of these series, int32[n], effects of the calendars that hold for it, if it was not looked up."""
        if not len(self._plan):
            return
        self._reserve(int(ids.max()) + 1)
        for id in np.unique(ids[self._scope["known"][ids] == 0]).tolist():
            key = _key(series, id)
            for n in np.flatnonzero(self._rows[id] == _NOT_YET).tolist():
                self._rows[id, n] = self._new(n) if _holds(self._matchers[n], key) else _NOT
            self._scope["known"][id] = 1

    def _reserve(self, n: int) -> None:
        if n > (have := len(self._scope)):
            room = max(n, 2 * have, 64)
            scope, rows = np.zeros(room, SCOPE), np.full((room, len(self._plan)), _NOT_YET, np.int32)
            scope[:have], rows[:have] = self._scope, self._rows
            self._scope, self._rows = scope, rows

    def _new(self, calendar: int) -> int:
        """The row of a new effect, of which nothing is known."""
        return self._blank(np.array([calendar]))

    def _blank(self, calendars: np.ndarray) -> int:
        """The first row of new effects, one for each of these calendars, of which nothing is known."""
        at = self._room(len(calendars))
        self._effects["calendar"][at : self._used], self._effects["part"][at : self._used] = calendars, -1
        return at

    def _append(self, effects: np.ndarray) -> int:
        """The first row of these, now part of the table."""
        first = self._room(len(effects))
        self._effects.view(_BYTES)[first : self._used] = np.ascontiguousarray(effects).view(_BYTES)
        return first

    def _room(self, n: int) -> int:
        """The first of n more rows of the table, all zero."""
        first, end = self._used, self._used + n
        if end > len(self._effects):
            grown = np.zeros(max(64, end, 2 * first), EFFECT)
            grown.view(_BYTES)[:first] = self._effects.view(_BYTES)[:first]
            self._effects = grown
        self._used = end
        return first

    # --- going on after a restart

    def part(self, first: int, end: int) -> dict[str, np.ndarray]:
        """Of series first to end - 1. scope: SCOPE[ids]; rows: int32[ids, calendars], into effects: EFFECT[k];
        calendars: names and selectors."""
        identity = np.frombuffer(self._identity.encode(), np.uint8).copy()
        scope, rows = self._scope[first:end].copy(), self._rows[first:end].copy()
        mine = rows[rows >= 0]
        rows[rows >= 0] = np.arange(len(mine))  # no two series share an effect
        return {
            "scope": scope,
            "rows": rows,
            "effects": self._effects.view(_BYTES)[mine].view(EFFECT),
            "calendars": identity,
        }

    def restore_part(self, first: int, arrays: Mapping[str, Any]) -> None:
        """Go on from `part()`. Calendars may have changed: of those with the same name and selector what was learned
        is kept. Raises ValueError."""
        scope, rows, effects = (np.asarray(arrays[name]) for name in ("scope", "rows", "effects"))
        before = _pairs(bytes(np.asarray(arrays["calendars"], np.uint8)).decode())
        fits = scope.dtype == SCOPE and effects.dtype == EFFECT and rows.shape == (len(scope), len(before))
        if not fits or rows.max(initial=-1) >= len(effects):
            raise ValueError("seasonal: calendars of the state are not of this version")
        self._take(first, scope, rows, self._append(effects), before)

    def _take(self, first: int, scope: np.ndarray, rows: np.ndarray, at: int, before: list[tuple[str, str]]) -> None:
        """Series from `first` on, as they were under the calendars `before`. at: where their effects begin."""
        now, ids = _pairs(self._identity), slice(first, first + len(scope))
        self._reserve(ids.stop)
        for n, one in enumerate(now):
            if one in before:
                mine = rows[:, before.index(one)]
                self._rows[ids, n] = np.where(mine >= 0, mine + at, mine)
                self._effects["calendar"][mine[mine >= 0] + at] = n
                self._end_others(mine[mine >= 0] + at, n)
        self._scope[ids] = scope
        self._scope["edge"][ids] = 0
        if now != before:
            self._scope["known"][ids] = 0

    def _end_others(self, effects: np.ndarray, calendar: int) -> None:
        """Occasions that are on and that the calendar does not have like this any more end with the next row."""
        on = effects[self._effects["on"][effects] == 1]
        begin, end = self._plan[calendar, :2]
        at = begin + np.searchsorted(self._from_s[begin:end], self._effects["begin"][on])
        have = np.flatnonzero(at < end)
        here = have[self._from_s[at[have]] == self._effects["begin"][on[have]]]
        same = here[self._to_s[at[here]] == self._effects["end"][on[here]]]
        self._effects["end"][np.delete(on, same)] = 0

    def replaced(
        self, calendars: Sequence[Calendar], ids: np.ndarray, series: SeriesList
    ) -> Generator[None, None, Occasions]:
        """In small steps: other calendars, with what was learned of those that keep name and selector, as after a
        restart. ids: int32[k], rising, the series to be looked up beforehand; others are with their next row. Between
        steps these here go on learning; what they learned by the last one is taken over in it."""
        new = Occasions(calendars, self._first_cause)
        now, before = _pairs(new._identity), _pairs(self._identity)
        holds = np.ones((len(ids), len(now)), np.bool_)
        for first in range(0, len(ids), _AT_ONCE):
            keys = [_key(series, id) for id in ids[first : first + _AT_ONCE].tolist()]
            for n, matchers in enumerate(new._matchers):
                if matchers and now[n] not in before:
                    holds[first : first + _AT_ONCE, n] = [_holds(matchers, key) for key in keys]
            yield
        if set(before) <= set(now):  # then no effect is to go, and they may lie where they are
            new._effects, new._used = self._effects, self._used
            new._take(0, self._scope, self._rows, 0, before)
        else:
            new.restore_part(0, self.part(0, len(self._scope)))
        new._have_looked_up(ids, holds)
        return new

    def _have_looked_up(self, ids: np.ndarray, holds: np.ndarray) -> None:
        """For each of these series, int32[k]: which calendars hold for it, bool[k, calendars]."""
        self._reserve(int(ids.max(initial=-1)) + 1)
        rows = self._rows[ids]
        want = rows == _NOT_YET
        rows[want & ~holds] = _NOT
        which = np.nonzero(want & holds)
        rows[which] = self._blank(which[1]) + np.arange(len(which[1]))
        self._rows[ids], self._scope["known"][ids] = rows, 1

    def adopt(self, ids: np.ndarray, other: Occasions) -> None:
        """Know of series ids[i] what `other` learned of its series i, where that is from more occasions: a replay does
        not go back for years."""
        self._reserve(int(ids.max(initial=-1)) + 1)
        other._reserve(len(ids))
        for theirs, mine in enumerate(ids.tolist()):
            for n in np.flatnonzero(other._rows[theirs] >= 0).tolist():
                if self._rows[mine, n] < 0:
                    self._rows[mine, n] = self._new(n)
                learned, at = other._effects[other._rows[theirs, n]], self._rows[mine, n]
                if learned["seen"].sum() >= self._effects[at]["seen"].sum():
                    self._effects[at] = learned
            self._scope["edge"][mine] = 0


def _key(series: SeriesList, id: int) -> bytes:
    return series.keys[id] if id < len(series) else b""


def _pairs(identity: str) -> list[tuple[str, str]]:
    parts = identity.split("\0") if identity else []
    return list(zip(parts[::2], parts[1::2], strict=True))


def _matchers(selector: str) -> tuple[Any, ...]:
    if not selector:
        return ()
    from almenara.query import parse_selector  # what reads selectors is in another extra

    return parse_selector(selector)


def _holds(matchers: Sequence[Any], key: bytes) -> bool:
    if not matchers:
        return True
    series = Series.from_key(key)
    labels = {**dict(series.labels), "__name__": series.name}
    return all(one.matches(labels.get(one.label, "")) for one in matchers)
