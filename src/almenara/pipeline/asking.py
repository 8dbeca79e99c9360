"""What people may ask through a notifier: STATUS, GRAPH, LIST, WHY. Answers are short, in words."""

from __future__ import annotations

import asyncio
import logging
import math

import numpy as np

from almenara.alarm.message import compose
from almenara.alarm.wording import count, expected_text, one_line, series_text, since, span, value_text
from almenara.model.alarm import Alarm, Evidence, Incident, NoticeKind, Reply, Severity, State
from almenara.model.errors import AlmenaraError
from almenara.model.time import DAY_NS, HOUR_NS, NS
from almenara.model.units import unit_symbol
from almenara.pipeline.asked import Asked, Wrong, is_number, is_span, span_ns, title
from almenara.pipeline.find import MOST
from almenara.pipeline.graphs import series_of, span_of
from almenara.pipeline.reading import Replayed
from almenara.plugin.contracts import Selection

log = logging.getLogger(__name__)

#: The time that a graph shows where nobody says one.
GRAPH_NS = 6 * HOUR_NS
#: Incidents that LIST names, and lines about one that WHY tells.
MOST_LISTED, MOST_LINES = 15, 5


async def status(asked: Asked) -> Reply:
    """STATUS: the last value of a series, what was expected, its alarms; without a series, how the hub is."""
    if not asked.args:
        return await _of_the_hub(asked)
    id = await asked.series(asked.args)
    hub, series = asked.hub, asked.hub.index[id]
    last = await hub.last(Selection(hub.index, np.array([id], np.int32)))
    if not len(last):
        return Reply(f"{series_text(series, 100)}\nNothing is stored of it.")
    time = int(last.time[0])
    evidence = await _judged(asked, id, time, float(last.value[0]))
    unit = unit_symbol(hub.metadata.of(id).unit, series.name)
    lines = [series_text(series, 100), f"Value: {value_text(evidence, unit) or 'missing'}"]
    if expected := expected_text(evidence, unit):
        lines[-1] += f", expected {expected}"
    lines.append(f"When: {since(time, asked.now, asked.about.timezone)}")
    lines.append(f"Judged: {_verdict(evidence)}")
    alarms = [alarm for alarm in hub.alarms.open() if alarm.last.series == series]
    lines += [f"Alarm: {_alarm(asked, alarm)}" for alarm in alarms] or ["Alarms: none"]
    name = str(series)
    return Reply("\n".join(lines), choices=(f"graph {name}", f"why {name}"))


async def _judged(asked: Asked, id: int, time: int, value: float) -> Evidence:
    """The last row as it is judged; without a detector, the value alone."""
    hub = asked.hub
    if not hub.options.watches:
        return Evidence(value)
    found = await hub.replay(np.array([id], np.int32), time, time + 1)
    if not len(found.batch):
        return Evidence(value)
    return _evidence(found, len(found.batch) - 1)


def _evidence(found: Replayed, row: int) -> Evidence:
    said = found.verdict
    columns = (found.batch.value, said.score, said.yhat, said.lower, said.upper)
    value, score, yhat, lower, upper = (float(np.asarray(column)[row]) for column in columns)
    return found.causes.evidence(
        value, score, yhat, lower, upper, int(np.asarray(said.cause)[row]), time=int(found.batch.time[row]),
        note=said.notes.get(row, ""),
    )  # fmt: skip


def _verdict(one: Evidence) -> str:
    if math.isnan(one.score):
        return "not learned yet"
    if one.score >= 1:
        return f"{Severity.of_score(one.score).value}, score {one.score:.2g} where 1 is the limit"
    return f"as expected, score {one.score:.2g} where 1 is the limit"


def _alarm(asked: Asked, alarm: Alarm) -> str:
    last = alarm.last
    of = f", incident #{alarm.incident}" if alarm.incident else ""
    state = last.state.value if last.state is not State.FIRING else last.severity.value
    return f"{one_line(last.rule, 60)}: {state} since {since(last.since, asked.now, asked.about.timezone)}{of}"


async def _of_the_hub(asked: Asked) -> Reply:
    hub = asked.hub
    found = await asked.incidents()
    wrong = [*hub.health(), *(f"{name}: {why}" for name, why in hub.problems.items())]
    lines = [
        f"{one_line(asked.about.name, 60) or 'Hub'}: {'all is well' if not wrong else 'not all is well'}",
        *(f"! {one_line(text, 300)}" for text in wrong),
        f"{count(len(found), 'incident')} open, {count(len(hub.alarms.open()), 'alarm')}",
        f"{len(hub.index):,} series",
    ]
    return Reply("\n".join(lines), choices=("list", "help"))


async def listed(asked: Asked) -> Reply:
    """LIST: what is open, the worst first."""
    found = await asked.incidents()
    if not found:
        return Reply("No incident is open.")
    rank = {severity: number for number, severity in enumerate(Severity)}
    found.sort(key=lambda one: (-rank[one.severity], -one.since))
    lines = [f"{count(len(found), 'incident')} open"]
    for one in found[:MOST_LISTED]:
        taken = f", taken on by {one_line(one.acknowledgement.who, 40)}" if one.acknowledgement else ""
        lines.append(f"{title(one)}, for {span((asked.now - one.since) / NS)}{taken}")
    if len(found) > MOST_LISTED:
        lines.append(f"... and {len(found) - MOST_LISTED:,} more")
    return Reply("\n".join(lines), choices=tuple(f"why {one.id}" for one in found[:MOST]))


async def graph(asked: Asked) -> Reply:
    """GRAPH: a series over the last hours, or those of an incident."""
    text, length = _with_span(asked.args)
    if is_number(text) or (not text and asked.command.incident):
        number = int(text.lstrip("#")) if text else asked.command.incident
        return await _graph_of(asked, await asked.incident(number), length)
    if not text:
        raise Wrong("GRAPH of what? Expected a series or an incident, and how far back: graph flow P-101 6h", ["list"])
    id = await asked.series(text)
    end = asked.now + 1
    series = asked.hub.index[id]
    png = await asked.graphs.of_series([series], end - (length or GRAPH_NS), end, asked.hub.alarms.open())
    return Reply(f"{series_text(series, 100)}: {span((length or GRAPH_NS) / NS)} up to now", png)


def _with_span(args: str) -> tuple[str, int]:
    """What comes before a span of time at the end, and that in ns; 0 where there is none."""
    before, _, last = args.rpartition(" ")
    return (before, span_ns(last)) if last and is_span(last) else (args, 0)


async def _graph_of(asked: Asked, one: Incident, length: int) -> Reply:
    start, end = span_of(one, asked.now + 1)
    shown = series_of(one)
    png = await asked.graphs.of_series(shown, end - length if length else start, end, one.members)
    of = len({alarm.last.series for alarm in one.members})
    more = f"\n{len(shown)} of {of:,} series" if of > len(shown) else ""
    return Reply(f"{title(one)}{more}", png)


async def why(asked: Asked) -> Reply:
    """WHY: what is known of an incident, or what was unusual in a series within the last day."""
    if is_number(asked.args) or (not asked.args and asked.command.incident):
        number = int(asked.args.lstrip("#")) if asked.args else asked.command.incident
        return await _why_incident(asked, await asked.incident(number))
    if not asked.args:
        found = await asked.incidents()
        if len(found) == 1:
            return await _why_incident(asked, found[0])
        raise Wrong("WHY what? Expected an incident or a series: why 7, why flow P-101", ["list"])
    return await _why_series(asked, await asked.series(asked.args))


async def _why_incident(asked: Asked, one: Incident) -> Reply:
    kind = NoticeKind.RESOLVED if one.state is State.RESOLVED else NoticeKind.FIRING
    told = compose(0, kind, one, asked.about, now_ns=asked.now)
    lines = [told.text]
    for line in (await asyncio.to_thread(asked.book.lines, one.id))[-MOST_LINES:]:
        who = f" by {one_line(line.who, 40)}" if line.who else ""
        lines.append(f"{since(line.time, asked.now, asked.about.timezone)}: {one_line(line.text, 200)}{who}")
    return Reply("\n".join(lines), await _graph_if_any(asked, one))


async def _graph_if_any(asked: Asked, one: Incident) -> bytes | None:
    try:
        return (await _graph_of(asked, one, 0)).graph_png
    except AlmenaraError as error:  # the words are the answer; a graph only helps
        log.info("no graph of incident %d: %s", one.id, error)
        return None


async def _why_series(asked: Asked, id: int) -> Reply:
    hub, series, now = asked.hub, asked.hub.index[id], asked.now
    lines = [series_text(series, 100)]
    lines += [
        f"Alarm: {_alarm(asked, alarm)}; {one_line(alarm.last.evidence.why, 300)}"
        for alarm in hub.alarms.open()
        if alarm.last.series == series
    ]
    if not hub.options.watches:
        return Reply("\n".join([*lines, "No detector judges it."]))
    found = await hub.replay(np.array([id], np.int32), now - DAY_NS, now + 1)
    said, times = found.verdict, np.asarray(found.batch.time)
    score = np.asarray(said.score)
    begins = np.flatnonzero((score >= 1) & (np.asarray(said.nth) == 1)) if said.nth is not None else np.array([], int)
    for row in begins[-MOST_LINES:][::-1].tolist():
        text = one_line(_evidence(found, row).why)
        lines.append(f"{since(int(times[row]), now, asked.about.timezone)}: {text}")
    if not len(begins):
        lines.append("Nothing unusual within the last day.")
    elif len(begins) > MOST_LINES:
        lines.append(f"... and {len(begins) - MOST_LINES:,} more within the last day")
    if not len(begins):
        return Reply("\n".join(lines))
    return Reply("\n".join(lines), await asked.graphs.of_series([series], now - DAY_NS, now + 1, hub.alarms.open()))
