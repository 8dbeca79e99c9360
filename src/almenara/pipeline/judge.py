"""Judging: stored rows go through each detector whose selector holds their series, row by row, in order of time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from almenara._compiled import njit
from almenara.alarm.rules import NOT_OURS
from almenara.analysis.alerts import Anomalies
from almenara.analysis.occasions import Calendar
from almenara.analysis.runs import crossings, starts
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.series import SeriesTable
from almenara.pipeline.anomalies import AnomalySeries, grown
from almenara.pipeline.budgets import Budgets, Kept
from almenara.pipeline.counters import Counters
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.kinds import HISTOGRAM, Kinds, kinds_of
from almenara.pipeline.metadata import KnownMetadata
from almenara.pipeline.parts import Rows, rows_of
from almenara.pipeline.rates import Rates, rated, step_in_turns
from almenara.pipeline.tuned import Groups
from almenara.plugin.contracts import Detector
from almenara.plugin.options import Option
from almenara.query import Matcher

NEVER = np.iinfo(np.int64).min
Arrays = Mapping[str, Mapping[str, np.ndarray]]
COLUMNS = ("score", "yhat", "lower", "upper", "share", "cause")
#: History that a detector needs which does not say how much.
WARMUP_S = 28 * 86_400.0
#: A series that got so many late rows is judged again, once no late row has come for so long: its past has changed.
MANY_LATE, QUIET_S = 500, 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watch:
    """A configured detector: its name, the series it judges, and how to make another one like it, for replay, or, for a
    backtest, one with some options changed (a table of them). options: all that can be; values: what those of the
    detector are set to, by the names of its parameters."""

    name: str
    matchers: tuple[Matcher, ...]
    make: Callable[..., Detector]
    options: Sequence[Option] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


def empty_verdict(n: int) -> Verdict:
    """A verdict of n rows that says nothing yet."""
    score, yhat, lower, upper = np.full((4, n), np.nan)
    return Verdict(score, yhat, lower, upper, np.ones(n), np.full(n, -1, np.int16))


def _take_higher(verdict: Verdict, said: Verdict, rows: np.ndarray) -> Verdict:
    """Put what a detector says of `rows` into the verdict of all, where its score is higher or the only one."""
    higher = ~(said.score <= verdict.score[rows])
    for column in COLUMNS:
        getattr(verdict, column)[rows[higher]] = getattr(said, column)[higher]
    if not verdict.notes and not said.notes:  # the usual case
        return verdict
    gone = set(rows[higher].tolist())
    notes = {row: text for row, text in verdict.notes.items() if row not in gone}
    return replace(verdict, notes=notes | {int(rows[k]): text for k, text in said.notes.items() if higher[k]})


def _part(rows: Rows, said: Verdict, nth: np.ndarray) -> Verdict:
    """What one of several detectors said, of all rows."""
    spread = rows.spread(said)
    all_nth = np.zeros(len(spread), np.int32)
    all_nth[rows.positions()] = nth
    return replace(spread, nth=all_nth)


def _writable(verdict: Verdict) -> Verdict:
    """`verdict` with columns of its own: a detector may have one share for all, and not all rows have a value."""
    columns: dict[str, Any] = {name: np.array(getattr(verdict, name)) for name in COLUMNS}
    return replace(verdict, **columns)


# Passes over a whole segment are compiled: in numpy each makes an array of 8 bytes a row.


@njit(cache=True, nogil=True)
def _mark(id, time, last, on_time):  # type: ignore[no-untyped-def]
    """Which rows, ordered by (id, time), are after the last one judged of their series; `last` moves on. How many are
    late."""
    late = before = 0
    for k in range(len(id)):
        i = id[k]
        if k == 0 or i != id[k - 1]:
            before = last[i]
        on_time[k] = time[k] > before
        if on_time[k]:
            last[i] = time[k]
        else:
            late += 1
    return late


@njit(cache=True, nogil=True)
def _select(id, mask, on_time, mine):  # type: ignore[no-untyped-def]
    """Which rows a detector judges: on time, and of a series that it selects. How many."""
    count = 0
    for k in range(len(id)):
        mine[k] = on_time[k] and mask[id[k]]
        count += mine[k]
    return count


def _placed(array: np.ndarray, first: int, some: np.ndarray, fill: float) -> np.ndarray:
    array = grown(array, first + len(some), fill)
    array[first : first + len(some)] = some
    return array


class Judge:
    """All detectors of a hub and what they have learned; for the flush thread alone."""

    def __init__(
        self, index: SeriesIndex, watches: Sequence[Watch], counters: Counters,
        metadata: KnownMetadata | None = None, budgets: Budgets | None = None,
    ):  # fmt: skip
        self._index, self._counters = index, counters
        self.budgets = budgets or Budgets(())
        self._budget_of = Groups([(*one.matchers, NOT_OURS) for one in self.budgets.all])
        self.watches = tuple(watches)
        self.detectors: dict[str, Detector] = {w.name: w.make() for w in watches}
        self._selectors = {w.name: Selector(index, (*w.matchers, NOT_OURS)) for w in watches}
        self.kinds = Kinds(index, metadata)
        self._rates = Rates()
        self._last = np.full(0, NEVER, np.int64)  # time of the last row judged, by series
        self._late = np.zeros(0, np.int64)  # late rows since the series was last judged again
        self._late_s = 0.0  # when the latest of them came
        self._over = {w.name: np.zeros(0, np.bool_) for w in watches}  # whether that row was over the limit
        self._anomaly = Anomalies()  # that each series is in
        self._made = {w.name: AnomalySeries(index, w.name) for w in watches}
        self._makers = {w.name: w.make for w in watches}
        self.blank = [w.name for w in watches]  # detectors that went on from no snapshot
        self._whole: set[str] = set()  # detectors that went on from what `rest` gave
        self.problems: dict[str, str] = {}  # detectors out of service, and why
        # Verdict.cause points into the causes of all detectors, one list after the other.
        self.causes = self._causes()

    def _causes(self) -> Causes:
        return Causes.of((name, detector.causes) for name, detector in self.detectors.items())

    def replace_calendars(
        self, calendars: Sequence[Calendar], watches: Sequence[Watch], on_causes: Callable[[], None]
    ) -> Iterator[None]:
        """Have every detector that can go on with other calendars, in small steps between which rows may be judged;
        `on_causes` is called when `causes` are others. watches: how such detectors are made from then on."""
        for watch in watches:
            detector = self.detectors.get(watch.name)
            if (replacing := getattr(detector, "replace_calendars", None)) is None:
                continue  # it knows of none, or must be made anew
            try:
                yield from replacing(calendars, self._index)
            except Exception as error:  # as in `_ask`
                self._retire(watch.name, error)
            self._makers[watch.name] = watch.make
            self.causes = self._causes()
            on_causes()

    def step(self, batch: Batch) -> tuple[Verdict, list[Batch]]:
        """Judge and learn rows ordered by (id, time). Of several detectors the verdict with the highest score counts.

        Rows not after the last judged time of their series are late: NaN, counted. Also returns the rows to store:
        scores over the limit and the first one back under it, with their evidence.
        """
        batch, rates, on_time, turned = self._as_judged(batch)
        verdict: Verdict | None = None
        made, parts = [], dict[str, Callable[[], Verdict]]()
        if len(self.watches) > 1:
            parts = {watch.name: partial(empty_verdict, len(batch)) for watch in self.watches}
        for name, rows, judged, said in self._said(tuple(self.detectors), batch, on_time, turned):
            if first := self.causes.first(name):
                said = replace(said, cause=np.where(said.cause < 0, said.cause, said.cause + first).astype(np.int16))
            self._counters.add("almenara_rows_judged_total", len(judged), detector=name)
            if parts:
                parts[name] = partial(_part, rows, said, self._begins(name, judged, said))
            made.append(self._anomalies(name, judged, said))
            if verdict is None:
                verdict = rows.spread(said)
            else:
                verdict = _take_higher(_writable(verdict), said, rows.positions())
        verdict = verdict or empty_verdict(len(batch))
        nth = self._anomaly.step(batch.id, verdict.score)
        if self.budgets.all:
            self.budgets.step(batch.id, batch.time, batch.value, np.flatnonzero(nth == 1), self._budget_groups)
        return replace(verdict, value=rates, nth=nth, parts=parts), [b for b in made if len(b)]

    def learn_left(self, batch: Batch) -> None:
        """Learn rows that were judged before `rest` was taken and after the slices of their series were; ordered by
        (id, time). What was made of them is on disk, and what was taken whole knows them."""
        batch, _, on_time, turned = self._as_judged(batch)
        names = tuple(name for name in self.detectors if name not in self._whole)
        for name, _, judged, said in self._said(names, batch, on_time, turned):
            if name in self.blank:
                self._anomalies(name, judged, said)  # moves on whether its series are over the limit

    def _as_judged(self, batch: Batch) -> tuple[Batch, np.ndarray | None, np.ndarray, np.ndarray]:
        """(the rows as detectors see them; their values, None where these are as they came; which are on time; in which
        a series turned out to be a counter, or to be none)."""
        self._last = grown(self._last, len(self._index), NEVER)
        on_time = np.empty(len(batch), np.bool_)
        if late := _mark(batch.id, batch.time, self._last, on_time):
            self._counters.add("almenara_rows_late_total", late)
            self._note_late(batch.id[~on_time])
        if len(changed := self.kinds.changed()):
            self.ask_again(changed)
        rates, turned = self._rates.of(batch, on_time, self.kinds.of())
        if rates is not None:
            batch = Batch(batch.series, batch.id, batch.time, rates)
        return batch, rates, on_time, turned

    def _said(
        self, names: Sequence[str], batch: Batch, on_time: np.ndarray, turned: np.ndarray
    ) -> Iterator[tuple[str, Rows, Batch, Verdict]]:
        """Of each detector, the rows that it selects, as places and as a batch, and what it says of them."""
        for name in names:
            mine = np.empty(len(batch), np.bool_)
            count = _select(batch.id, self._judged_by(name), on_time, mine)
            if not count:
                continue
            rows = rows_of(mine, count)
            judged = rows.take(batch)
            turns = turned if not len(turned) else np.flatnonzero(np.isin(rows.positions(), turned))
            if (said := self._ask(name, judged, turns)) is not None:
                yield name, rows, judged, said

    def _begins(self, name: str, judged: Batch, said: Verdict) -> np.ndarray:
        """int32[k]: 1 where this detector comes to say that a series is over the limit, 2 where it goes on, else 0."""
        over, id = np.asarray(said.score) >= 1, np.asarray(judged.id)
        before = np.concatenate((over[:1], over[:-1]))
        first = starts(id)
        known = self._over[name] = grown(self._over[name], len(self._index), False)
        before[first] = known[id[first]]
        return np.where(over, np.where(before, 2, 1), 0).astype(np.int32)

    def _budget_groups(self) -> np.ndarray:
        return self._budget_of.of(self._index)

    def budgets_kept(self) -> list[Kept]:
        """How each alarm budget is kept."""
        return self.budgets.kept(self._budget_groups())

    def _note_late(self, id: np.ndarray) -> None:
        self._late = grown(self._late, len(self._index), 0)
        np.add.at(self._late, id, 1)
        self._late_s = time.monotonic()

    def _ask(self, name: str, judged: Batch, turned: np.ndarray) -> Verdict | None:
        """What a detector says; None where it failed, and is out of service from then on. turned: rows in which a
        series turned out to be a counter, or to be none."""
        try:
            said = step_in_turns(self.detectors[name], self._makers[name], judged, turned)
            for column in COLUMNS:
                if len(getattr(said, column)) != len(judged):
                    raise ValueError(f"{column} of {len(getattr(said, column))} rows for {len(judged)} rows to judge")
            return said
        except Exception as error:  # a plugin's mistake, whatever it is, must not keep the hub from storing
            self._retire(name, error)
            return None

    def _retire(self, name: str, error: Exception) -> None:
        log.exception("detector %s failed and is out of service until the hub is started again", name)
        self.problems[name] = f"{type(error).__name__}: {error}"
        del self.detectors[name]

    def _anomalies(self, name: str, judged: Batch, said: Verdict) -> Batch:
        """Rows over the limit and the first one back under it, as rows of the series `anomaly...`."""
        over = self._over[name] = grown(self._over[name], len(self._index), False)
        rows = crossings(judged.id, said.score, over, keep_unsaid=False)
        self._counters.add("almenara_anomalies_total", int(np.count_nonzero(said.score[rows] >= 1)), detector=name)
        if not len(rows):  # the usual case
            return Batch(judged.series, judged.id[:0], judged.time[:0], judged.value[:0])
        return self._made[name].rows(judged, said, rows)

    # --- going on after a restart

    def part(self, first: int, end: int) -> dict[str, dict[str, np.ndarray]]:
        """What is learned of series first to end - 1, as arrays, by detector; under "" what judging itself knows.
        Only of detectors that have `part`."""
        own = {"last": self._last[first:end].copy(), "late": self._late[first:end].copy()}
        mine = [name for name, detector in self.detectors.items() if hasattr(detector, "part")]
        return {"": own | self._rates.part(first, end)} | self._taken(mine, lambda one: one.part(first, end))

    def rest(self) -> dict[str, dict[str, np.ndarray]]:
        """All that `part` does not give, of the present moment."""
        own = (
            {f"anomaly_{name}": column for name, column in self._anomaly.state().items()}
            | self.budgets.state()
            | {f"over_{name}": over.copy() for name, over in self._over.items()}
        )
        whole = [name for name, detector in self.detectors.items() if not hasattr(detector, "part")]
        return {"": own} | self._taken(whole, lambda one: one.state())

    def _taken(self, names: Sequence[str], take: Callable[[Any], Any]) -> dict[str, dict[str, np.ndarray]]:
        found = {}
        for name in names:
            try:
                found[name] = take(self.detectors[name])
            except Exception as error:  # as in `_ask`
                self._retire(name, error)
        return found

    def restore(self, rest: Arrays, parts: Iterable[tuple[int, Arrays]]) -> None:
        """Go on from what `rest` gave and `part`, each with its first series; before the first step. Detectors for
        which not all of these have something, or that refuse it, stay `blank`. Raises ValueError or KeyError where what
        judging itself knows does not fit; this judge is then of no use any more."""
        own = rest[""]
        self._anomaly.restore(own["anomaly_rows"], own["anomaly_calm"])
        self.budgets.restore(own)
        self._over = {name: np.array(own.get(f"over_{name}", ()), np.bool_) for name in self.detectors}
        self._whole = {name for name in self.detectors if name in rest and self._took(name, "restore", rest[name])}
        going = [name for name in self.detectors if name not in self._whole]
        for first, part in parts:
            self._last = _placed(self._last, first, part[""]["last"], NEVER)
            self._late = _placed(self._late, first, part[""]["late"], 0)
            self._rates.restore_part(first, part[""])
            going = [name for name in going if self._took(name, "restore_part", first, part.get(name))]
        self.blank = [name for name in self.detectors if name not in self._whole and name not in going]

    def _took(self, name: str, method: str, *given: Any) -> bool:
        """Whether a detector goes on from this; else it is one that has learned nothing."""
        try:
            if given[-1] is None:
                raise ValueError("there is nothing of it")
            getattr(self.detectors[name], method)(*given)
            return True
        except Exception as error:  # the contract says ValueError; other arrays may make it anything
            log.warning("detector %s does not take up what was learned: %s", name, error)
            self.detectors[name] = self._makers[name]()
            return False

    def kinds_now(self, ids: np.ndarray) -> np.ndarray:
        """uint8[k]: what these series are, by what was told and what was found; from any thread."""
        return self._rates.settled(kinds_of(self._index, self.kinds.known, ids), ids)

    def warmup_s(self, name: str) -> float:
        """How much history a detector needs."""
        return float(getattr(self.detectors[name], "warmup_s", WARMUP_S)) if name in self.detectors else 0.0

    def selected(self, name: str) -> np.ndarray:
        """int32[k]: the series that a detector judges."""
        return np.flatnonzero(self._judged_by(name)).astype(np.int32)

    def _judged_by(self, name: str) -> np.ndarray:
        """bool[series]: which ones a detector judges."""
        mask, kind = self._selectors[name].mask(), self.kinds.of()
        n = min(len(mask), len(kind))  # the index may have grown between the two, by series of later rows
        return mask[:n] & (kind[:n] != HISTOGRAM)

    def learn(self, name: str, batch: Batch) -> None:
        """Have one detector learn rows of the past, ordered by (id, time), all that there are of their series; nothing
        is made of what it says."""
        every = np.arange(len(self._index))
        kind = self._rates.settled(self.kinds.of(), every)
        batch, turned, found = rated(batch, kind)
        self._rates.take(found, kind, every)
        if name in self.detectors and len(batch) and (said := self._ask(name, batch, turned)) is not None:
            self._have_learned(name, batch, said)

    # --- judging again

    @property
    def wants_again(self) -> bool:
        """Whether there are series to judge again, and it is time for it."""
        return time.monotonic() - self._late_s >= QUIET_S and bool((self._late >= MANY_LATE).any())

    def ask_again(self, ids: np.ndarray) -> None:
        """Have these series judged again, however few late rows they got."""
        self._late = grown(self._late, len(self._index), 0)
        self._late[ids] = MANY_LATE

    def again(self) -> np.ndarray:
        """int32[k]: series to judge again."""
        return np.flatnonzero(self._late >= MANY_LATE).astype(np.int32)

    def judged_again(self, ids: np.ndarray) -> None:
        """These series are as their stored rows make them."""
        self._late[ids] = 0

    def last_times(self, ids: np.ndarray) -> np.ndarray:
        """int64[k]: the time of the last row judged; the earliest of all where there is none."""
        return grown(self._last, len(self._index), NEVER)[ids]

    def can_again(self, name: str) -> bool:
        """Whether a detector can judge single series again."""
        return hasattr(self.detectors.get(name), "adopt")

    def judge_again(self, name: str, ids: np.ndarray, batch: Batch) -> list[Batch]:
        """Have a detector forget these series and learn them from stored rows, ordered by (id, time). Returns the rows
        to store, as `step` does."""
        if name not in self.detectors or not len(batch):
            return []
        local = np.searchsorted(ids, batch.id).astype(np.int32)
        table = SeriesTable.of(self._index.keys[i] for i in ids.tolist())
        kind = self._rates.settled(self.kinds.of()[ids], ids)
        mine, turned, found = rated(Batch(table, local, batch.time, batch.value), kind)
        self._rates.take(found, kind, ids)
        batch = Batch(batch.series, batch.id, batch.time, mine.value)
        try:
            fresh = self._makers[name]()
            said = step_in_turns(fresh, self._makers[name], mine, turned)
            self.detectors[name].adopt(ids, fresh)  # type: ignore[attr-defined]
        except Exception as error:  # as in `_ask`
            self._retire(name, error)
            return []
        made = self._anomalies(name, batch, said)
        self._have_learned(name, batch, said)
        return [made] if len(made) else []

    def _have_learned(self, name: str, batch: Batch, said: Verdict) -> None:
        self._last = grown(self._last, len(self._index), NEVER)
        over = self._over[name] = grown(self._over[name], len(self._index), False)
        last = np.concatenate((batch.id[1:] != batch.id[:-1], [True]))
        ids = batch.id[last]
        self._last[ids] = np.maximum(self._last[ids], batch.time[last])
        over[ids] = said.score[last] >= 1
        again = Anomalies()
        again.step(batch.id, said.score)
        self._anomaly.adopt(ids, again)
