"""An audit of the pager that somebody has: what it told, beside what this program makes of the same history.

Theirs are problems: from the first notification of a check to its recovery. Ours are incidents of a rehearsal over the
same figures. Both mean the same where they overlap in time, a little wider, and one of our alarms is of the same host,
and of the same service where both name one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from almenara.files.nagios_log import Checked, NagiosLog, Told
from almenara.model.alarm import Incident
from almenara.model.errors import DecodeError
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import DAY_NS, MINUTE_NS, parse_time
from almenara.pipeline.rehearsal import Sent

#: Both sides mean the same if they are not further apart than this.
SLACK_NS = 15 * MINUTE_NS
#: A problem without a recovery, and without another notification for so long, is over.
OPEN_NS = DAY_NS
#: States that a log tells are filled in between two of its lines: a row so often, and not more rows in all.
FILL_NS, MOST_FILLED = MINUTE_NS, 5_000_000
#: Kinds of notification that are about a problem.
_PROBLEM, _RECOVERY = "PROBLEM", "RECOVERY"


@dataclass(slots=True)
class Problem:
    """What another system told of one check, from its first notification to its end. times in ns; end 0: not known.

    told: notifications; acknowledged: whether anybody acted on it; incident: which of ours means the same, 0 none.
    """

    system: str
    host: str
    service: str
    since: int
    end: int
    told: int
    state: str
    output: str
    acknowledged: bool = False
    incident: int = 0


@dataclass(slots=True)
class Audit:
    """Both sides. notifications: of others, by system and kind; only_here: incidents that nobody else told of."""

    start: int
    end: int
    problems: list[Problem]
    incidents: list[Incident]
    notifications: Mapping[str, Mapping[str, int]]
    ours: int  # messages that one notifier would have had
    why: Mapping[int, str] = field(default_factory=dict)  # by incident, what the first message said
    matched: dict[int, list[Problem]] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)

    @property
    def only_theirs(self) -> list[Problem]:
        """Problems that no incident here means."""
        return [one for one in self.problems if not one.incident]

    @property
    def only_here(self) -> list[Incident]:
        """Incidents here of which nobody was told."""
        return [one for one in self.incidents if one.id not in self.matched]


def problems_of(log: NagiosLog) -> list[Problem]:
    """What Nagios told, put together: notifications of one check from problem to recovery."""
    open: dict[tuple[str, str], Problem] = {}
    found: list[Problem] = []
    for one in log.told:
        key = (one.host, one.service)
        mine = open.get(key)
        if mine is not None and one.time - (mine.end or mine.since) > OPEN_NS:
            mine = open.pop(key, None) and None
        if one.kind == _RECOVERY:
            if mine is not None:
                mine.end, mine.told = one.time, mine.told + 1
                del open[key]
            continue
        if mine is None:
            if one.kind != _PROBLEM and not one.kind.startswith("FLAPPING"):
                continue
            mine = open[key] = Problem("Nagios", *key, one.time, 0, 0, one.state, one.output)
            found.append(mine)
        mine.told += 1
        mine.acknowledged |= one.kind == "ACKNOWLEDGEMENT"
        mine.end = one.time
    for mine in found:
        mine.acknowledged |= any(
            (host, service) == (mine.host, mine.service) and mine.since <= at <= (mine.end or mine.since)
            for host, service, at in log.acknowledged
        )
    return found


def alerts_of(export: Any) -> list[Problem]:
    """Alerts of Alertmanager as /api/v2/alerts and `amtool alert query -o json` give them. Raises DecodeError."""
    if not isinstance(export, list):
        raise DecodeError(f"found {type(export).__name__}, expected a list of alerts as /api/v2/alerts gives it")
    found = []
    for at, one in enumerate(export):
        try:
            labels = {str(k): str(v) for k, v in one["labels"].items()}
            since, end = parse_time(one["startsAt"]), parse_time(one.get("endsAt") or one["startsAt"])
            summary = one.get("annotations", {}).get("summary") or labels.get("alertname", "")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DecodeError(f"alert {at}: expected labels and startsAt: {error!r}") from error
        host = labels.get("host") or labels.get("instance", "").partition(":")[0]
        service = labels.get("service") or labels.get("job", "") or labels.get("alertname", "")
        state = labels.get("severity", "firing")
        held = bool((one.get("status") or {}).get("silencedBy"))
        found.append(Problem("Alertmanager", host, service, since, max(end, since), 1, state, summary, held))
    return found


def counts_of(told: Iterable[Told], problems: Iterable[Problem]) -> dict[str, dict[str, int]]:
    """Notifications by system and kind."""
    counts = {"Nagios": dict(Counter(one.kind for one in told))}
    others = Counter(one.system for one in problems if one.system != "Nagios")
    return {name: kinds for name, kinds in counts.items() if kinds} | {
        name: {"alerts": number} for name, number in others.items()
    }


def state_rows(log: NagiosLog) -> tuple[SeriesTable, np.ndarray, np.ndarray, np.ndarray]:
    """(series, id int32[n], time int64[n], value float64[n]) of hard states, as rows of `nagios_check_state` and
    `nagios_host_state`: what a log says at a change is so until the next one."""
    by_check: dict[tuple[str, str], list[Checked]] = {}
    for one in log.checked:
        if one.is_hard:
            by_check.setdefault((one.host, one.service), []).append(one)
    table = SeriesTable()
    span = max(1, log.last - log.first)
    every = max(FILL_NS, span * len(by_check) // MOST_FILLED)
    ids, times, values = [], [], []
    for (host, service), changes in by_check.items():
        labels = {"host": host} | ({"service": service} if service else {})
        number = table.intern(encode_key("nagios_check_state" if service else "nagios_host_state", labels))
        at = np.array([one.time for one in changes], np.int64)
        grid = np.union1d(np.arange(at[0], log.last + 1, every), at)
        state = np.array([one.state for one in changes], np.float64)
        ids.append(np.full(len(grid), number, np.int32))
        times.append(grid)
        values.append(state[np.searchsorted(at, grid, "right") - 1])
    columns = ((np.int32, ids), (np.int64, times), (np.float64, values))
    id, time, value = (np.concatenate([np.empty(0, dtype), *parts]) for dtype, parts in columns)
    return table, id, time, value


def match(audit: Audit) -> None:
    """Find which problem is which incident, or several: those that overlap, of the same host and service."""
    by_host: dict[str, list[tuple[int, int, Incident, set[str]]]] = {}
    for one in audit.incidents:
        of_host: dict[str, set[str]] = {}
        for member in one.members:
            labels = dict(member.last.series.labels)
            host = labels.get("host") or labels.get("instance", "").partition(":")[0]
            of_host.setdefault(host, set()).add(labels.get("service", "") or labels.get("job", ""))
        for host, some in of_host.items():
            by_host.setdefault(host, []).append((one.since, one.resolved or audit.end, one, some))
    for mine in by_host.values():
        mine.sort(key=lambda entry: entry[0])
    for problem in audit.problems:
        entries = by_host.get(problem.host, [])
        until = bisect_right(entries, (problem.end or problem.since) + SLACK_NS, key=lambda entry: entry[0])
        for _, end, incident, services in entries[:until]:
            same = not problem.service or problem.service in services or "" in services
            if end >= problem.since - SLACK_NS and same:
                problem.incident = problem.incident or incident.id
                audit.matched.setdefault(incident.id, []).append(problem)


def why_of(sent: Iterable[Sent]) -> dict[int, str]:
    """By incident, what happened as the first message about it says it."""
    found: dict[int, str] = {}
    for one in sent:
        said = next((fact.text for fact in one.notice.facts if fact.name == "What happened"), one.notice.title)
        found.setdefault(one.notice.incident.id, said)
    return found


def limits_of(log: NagiosLog | None, figures: int, averaged_s: Sequence[float], rows: int) -> list[str]:
    """What the claim is worth, in sentences: where history is averaged, or a log has no values."""
    found = []
    if averaged_s:
        coarse, fine = max(averaged_s), min(averaged_s)
        found.append(
            f"The figures come from round-robin databases: averages over {_seconds(fine)} to {_seconds(coarse)}. What "
            "was shorter than that is not in them, and neither is what a hub would have seen of it: incidents here are "
            "rather too few than too many, and their times are as coarse as the averages."
        )
    if not figures:
        found.append(
            "There were no figures, only states that a log tells at their changes. So nothing here was learned, and no "
            "detector judged anything: this shows how the same problems would have been put together, not what else "
            "there was to see. With perfdata (--perfdata) it shows that too."
        )
    if log is not None:
        found.append(
            "Between two lines of the log a check is taken to have stayed as it was. Who was told outside of this log, "
            "and what nobody logged, is not known."
        )
        if log.unread:
            found.append(f"{log.unread:,} of {log.lines:,} lines of the log were not understood and are left out.")
    if figures and rows / max(1, figures) < 2000:
        found.append(
            f"There are only {rows / max(1, figures):,.0f} values a figure. Detectors learn for days before they judge "
            "seasons: what they say of a history as short as this one is not what they would say in a month."
        )
    return found


def _seconds(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
