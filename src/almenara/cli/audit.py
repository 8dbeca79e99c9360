"""`almenara audit`: an operator's own history replayed through this program, beside what their pager told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from almenara.alarm.rules import Rule
from almenara.cli.terminal import show_json
from almenara.codecs.nagios_perfdata import NagiosPerfdata
from almenara.config.build import options
from almenara.config.build import rules as rules_of
from almenara.config.load import load
from almenara.files.nagios_log import NagiosLog, read_logs
from almenara.files.rrd import Rrd
from almenara.model.alarm import Incident
from almenara.model.batch import Batch
from almenara.model.errors import AlmenaraError, DecodeError
from almenara.model.time import DAY_NS, HOUR_NS, NS
from almenara.pipeline import audit as auditing
from almenara.pipeline.audit import Audit, Problem
from almenara.pipeline.chain import Wanted, run_chain
from almenara.pipeline.index import SeriesIndex
from almenara.plot.lanes import Lane, Span, document, figures_html, lanes_html, table_html
from almenara.plugin.contracts import Context
from almenara.stores.memory import Memory

#: What is alarming besides what the configuration says: the thresholds that Nagios checks. What comes and goes within
#: the time is one alarm.
STATE_RULES = [
    Rule("check", "nagios_check_state > 0", keep_firing_for_s=300.0),
    Rule("host", "nagios_host_state > 0", keep_firing_for_s=300.0),
]
_MOST_ROWS = 20_000_000
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asks for."""

    logs: Sequence[Path]
    exports: Sequence[Path]
    perfdata: Sequence[Path]
    config: Path | None
    out: Path | None
    as_json: bool


def run(order: Order) -> int:
    """Read, replay, compare and write. Raises AlmenaraError, OSError."""
    log = read_logs(order.logs) if order.logs else None
    problems = auditing.problems_of(log) if log else []
    for path in order.exports:
        try:
            problems += auditing.alerts_of(json.loads(path.read_text("utf-8")))
        except ValueError as error:
            raise DecodeError(f"{path}: {error}") from error
    rows = _Rows()
    averaged = rows.add_perfdata(order.perfdata)
    figures, values = len(rows.index), rows.n
    if log is not None:
        rows.add(*auditing.state_rows(log))
    if not rows.n and not problems:
        raise AlmenaraError("nothing to audit: give --nagios-log, --alertmanager-export or --perfdata")
    audit = _audited(order, log, problems, rows)
    audit.limits = auditing.limits_of(log, figures, averaged, values)
    if order.out is not None:
        order.out.write_text(page(audit), encoding="utf-8")
    if order.as_json:
        show_json(_plain(audit))
    else:
        Console(highlight=False, soft_wrap=True).print(sentence(audit), markup=False)
        if order.out is not None:
            print(f"wrote {order.out}")
    return 0


class _Rows:
    """Rows of all sources, under the ids of one index."""

    def __init__(self) -> None:
        self.index = SeriesIndex()
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.n = 0

    def add(self, table: Any, id: np.ndarray, time: np.ndarray, value: np.ndarray) -> None:
        """Rows of a table of series."""
        if not len(id):
            return
        used, local = np.unique(np.asarray(id), return_inverse=True)
        ids = np.asarray(self.index.add([table[int(i)].key for i in used.tolist()]), np.int32)[local]
        self._parts.append((ids, np.asarray(time, np.int64), np.asarray(value, np.float64)))
        self.n += len(ids)
        if self.n > _MOST_ROWS:
            raise AlmenaraError(
                f"more than {_MOST_ROWS:,} rows: an audit holds them in memory; give fewer files, or audit shorter"
            )

    def add_perfdata(self, paths: Sequence[Path]) -> list[float]:
        """Figures of perfdata files and RRDs; gives the seconds over which those are averaged."""
        averaged: set[float] = set()
        codec, rrd = NagiosPerfdata(), Rrd()
        for path in _files(paths):
            if path.suffix == ".rrd":
                for decoded, _ in rrd.batches(path):
                    batch = decoded.batch
                    self.add(batch.series, batch.id, batch.time, batch.value)
                    averaged |= _steps(batch)
            else:
                batch = codec.decode(path.read_bytes(), Context()).batch
                mine = np.array([_is_figure(batch.series[int(i)].name) for i in range(len(batch.series))], np.bool_)
                keep = mine[np.asarray(batch.id)]
                self.add(batch.series, *(np.asarray(c)[keep] for c in (batch.id, batch.time, batch.value)))
        return sorted(averaged)

    def stored(self) -> Memory:
        """All of them in a store, each (series, time) once."""
        store = Memory()
        store.add_series(0, [self.index.keys[i] for i in range(len(self.index))])
        id, time, value = (np.concatenate(c) for c in zip(*self._parts, strict=True))
        order = np.lexsort((np.arange(len(id)), time, id))
        id, time, value = id[order], time[order], value[order]
        last = np.ones(len(id), np.bool_)
        last[:-1] = (id[1:] != id[:-1]) | (time[1:] != time[:-1])
        store.append(Batch(self.index, id[last], time[last], value[last]), 1)
        return store

    def span(self) -> tuple[int, int]:
        """[first, last] in ns."""
        return min(int(p[1].min()) for p in self._parts), max(int(p[1].max()) for p in self._parts)


def _is_figure(name: str) -> bool:
    return name in ("nagios_perfdata", "nagios_perfdata_rate")


def _steps(batch: Batch) -> set[float]:
    time, id = np.asarray(batch.time), np.asarray(batch.id)
    gaps = np.diff(time)[id[1:] == id[:-1]] / NS
    return {float(gaps.min()), float(gaps.max())} if len(gaps) else set()


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += (
            sorted(p for p in path.rglob("*") if p.is_file() and p.suffix not in (".xml",)) if path.is_dir() else [path]
        )
    return found


def _audited(order: Order, log: NagiosLog | None, problems: list[Problem], rows: _Rows) -> Audit:
    config = load(order.config)
    with_states = rules_of(config)
    with_states += [rule for rule in STATE_RULES if rule.name not in {one.name for one in with_states}]
    times = [one.since for one in problems] + [one.end for one in problems if one.end]
    if log is not None and log.lines:
        times += [log.first, log.last]
    if rows.n:  # figures from before what was told only teach
        first, last = rows.span()
        times += [last] if times else [first, last]
    start, end = (min(times), max(times) + 60 * NS) if times else (0, 1)
    incidents: list[Incident] = []
    ours, why = 0, dict[int, str]()
    if rows.n:
        wanted = Wanted(np.arange(len(rows.index), dtype=np.int32), start, end, with_states, {"pager": ()})
        chosen = options(config)
        with Progress(
            console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal
        ) as bar:
            task = bar.add_task("Judging history", total=1.0)
            for found in run_chain(
                rows.stored().reader(), rows.index, chosen.watches, wanted, budgets=chosen.budgets, when=chosen.when
            ):
                bar.update(task, completed=found.done)
                incidents, ours = found.incidents, len(found.sent)
            why = auditing.why_of(found.sent)
    audit = Audit(start, end, problems, incidents, auditing.counts_of(log.told if log else (), problems), ours, why)
    auditing.match(audit)
    return audit


def sentence(audit: Audit) -> str:
    """The whole of it in one sentence."""
    told = [f"{sum(kinds.values()):,} notifications from {name}" for name, kinds in audit.notifications.items()]
    return (
        f"{_length(audit.end - audit.start)}: {' and '.join(told) or 'no notifications'}, of "
        f"{_many(len(audit.problems), 'problem')}; {_many(len(audit.incidents), 'incident')} here, told in "
        f"{_many(audit.ours, 'message')}. Only they told of {_many(len(audit.only_theirs), 'problem')}, only we saw "
        f"{_many(len(audit.only_here), 'incident')}."
    )


def _length(ns: int) -> str:
    return (
        f"{ns / DAY_NS:.0f} days"
        if ns >= 2 * DAY_NS
        else f"{ns / HOUR_NS:.1f} hours"
        if ns >= HOUR_NS
        else "Within an hour"
    )


def page(audit: Audit) -> str:
    """The page: what it comes to, both lanes, the lists, and what limits the claim."""
    names = {one.id: _incident_name(one) for one in audit.incidents}
    theirs = [Span(p.since, p.end or p.since, f"{_check(p)}: {p.output}", not p.incident) for p in audit.problems]
    ours = [
        Span(one.since, one.resolved or audit.end, names[one.id], one.id not in audit.matched)
        for one in audit.incidents
    ]
    told = sum(sum(kinds.values()) for kinds in audit.notifications.values())
    acted = sum(one.acknowledged for one in audit.problems)
    parts = [
        "<h1>The pager you have, and this one</h1>",
        f'<p class="lead">{escape(sentence(audit))}</p>',
        f"<p>{_when(audit.start)} to {_when(audit.end)}, UTC.</p>",
        figures_html([
            (f"{told:,}", "notifications that were sent"), (f"{len(audit.problems):,}", "problems they were about"),
            (f"{acted:,}", "of these, somebody acknowledged"), (f"{len(audit.incidents):,}", "incidents here"),
            (f"{audit.ours:,}", "messages they would have been"),
            (f"{len(audit.only_theirs):,}", "problems only they told of"),
            (f"{len(audit.only_here):,}", "incidents only we saw"),
        ]),
        "<h2>What this claim is worth</h2>",
        f'<ul class="limits">{"".join(f"<li>{escape(one)}</li>" for one in audit.limits)}</ul>',
        "<h2>Side by side</h2>",
        lanes_html(
            [Lane("What they told of", theirs), Lane("Incidents here", ours, ours=True)], audit.start, audit.end
        ),
        '<p class="key"><i style="background:#8a5a00"></i>theirs<i style="background:#1d5f9e"></i>ours'
        '<i style="background:#b3261e"></i>only one of the two</p>',
        *_lists(audit, names),
    ]  # fmt: skip
    return document("Audit of a pager", "\n".join(parts))


def _lists(audit: Audit, names: Mapping[int, str]) -> list[str]:
    both = [
        (_when(one.since), names[one.id], _many(len(one.members), "alarm"),
         "; ".join(f"{_check(p)}: {_many(p.told, 'notification')}, {p.output}" for p in audit.matched[one.id]))
        for one in audit.incidents if one.id in audit.matched
    ]  # fmt: skip
    theirs = [(_when(p.since), _check(p), _many(p.told, "notification"), p.state, p.output) for p in audit.only_theirs]
    ours = [(_when(one.since), names[one.id], one.severity.value, audit.why.get(one.id, "")) for one in audit.only_here]
    return [
        *_list("Incidents that both saw", ("since", "incident", "alarms", "what they told"), both),
        *_list("What only they told of", ("since", "check", "told", "state", "what the plugin said"), theirs),
        *_list("What only we saw", ("since", "incident", "severity", "what was unusual"), ours),
    ]


def _list(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    more = f"<p>The first {_SHOWN} of {len(rows):,}.</p>" if len(rows) > _SHOWN else ""
    body = table_html(heads, rows[:_SHOWN]) if rows else "<p>Nothing.</p>"
    return [f"<h2>{title}: {len(rows):,}</h2>", more, body]


def _incident_name(one: Incident) -> str:
    first = one.members[0].last
    more = f" and {len(one.members) - 1} more" if len(one.members) > 1 else ""
    return f"{first.series} ({first.rule}){more}"


def _check(one: Problem) -> str:
    return f"{one.host} {one.service}".strip() or "an alert without a host"


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _when(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).strftime("%Y-%m-%d %H:%M")


def _plain(audit: Audit) -> dict[str, Any]:
    ms = 1_000_000
    return {
        "start_ms": audit.start // ms,
        "end_ms": audit.end // ms,
        "notifications": {name: dict(kinds) for name, kinds in audit.notifications.items()},
        "messages_here": audit.ours,
        "limits": audit.limits,
        "problems": [
            {
                "system": p.system, "host": p.host, "service": p.service, "since_ms": p.since // ms,
                "end_ms": p.end // ms or None, "notifications": p.told, "state": p.state, "output": p.output,
                "acknowledged": p.acknowledged, "incident": p.incident or None,
            }
            for p in audit.problems
        ],
        "incidents": [
            {
                "id": one.id, "since_ms": one.since // ms, "resolved_ms": one.resolved // ms or None,
                "severity": one.severity.value, "alarms": [str(member.last.series) for member in one.members],
                "why": audit.why.get(one.id, ""), "only_here": one.id not in audit.matched,
            }
            for one in audit.incidents
        ],
    }  # fmt: skip
