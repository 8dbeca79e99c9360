"""Alarms that other systems decide and send, in Alertmanager's form: they are alarms as those of our own rules.

Each becomes an alarm of the rule that its `alertname` says, over a series without a name that has its other labels; no
row and no id of ours has such a series. Of the many times that an alert is sent only its begin and its end are written:
how long it still counts is held in memory, and after a restart each has time to be sent again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from almenara.alarm.changes import Change
from almenara.alarm.states import FIRING
from almenara.alarm.tables import Key
from almenara.model.alarm import ALERT_NAME, Alarm, Evidence, Severity, State, Transition
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, Series
from almenara.model.time import HOUR_NS, MINUTE_NS

#: An alert that says no end is over when it was not sent again for so long.
RESOLVE_NS = 5 * MINUTE_NS
#: The most alerts that may be firing, and UTF-8 bytes of the annotations of one.
MAX_ALERTS, MAX_ANNOTATION_BYTES = 100_000, 65_536
#: The rule of an alert that has no name, and the annotation that links to who sent it.
NAMELESS, GENERATOR = "alert", "generatorURL"

#: Words for severities that others use.
_SEVERITIES = {
    Severity.CRITICAL: ("critical", "page", "fatal", "emergency", "disaster"),
    Severity.MAJOR: ("major", "error", "high"),
    Severity.MINOR: ("minor", "average"),
}
_SEVERITY_OF = {word: severity for severity, words in _SEVERITIES.items() for word in words}


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it was sent; times in ns. ends: when it is over unless it is sent again; timeout: it said no end."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0
    ends: int = 0
    updated: int = 0
    generator: str = ""
    timeout: bool = False

    @property
    def key(self) -> Key:
        """The rule and the series of its alarm."""
        rest = tuple(sorted((k, v) for k, v in self.labels.items() if k != ALERT_NAME))
        return self.labels.get(ALERT_NAME, NAMELESS), Series("", rest).key

    def merged(self, older: Alert) -> Alert:
        """This and an older one of the same labels as one, as Alertmanager does."""
        overlap = older.starts < self.ends < older.ends or older.starts < self.starts < older.ends
        if not overlap:
            return self
        ends = self.ends
        if self.ends <= self.updated:
            ends = max(ends, older.ends) if older.ends <= self.updated else ends
        elif older.ends > ends and not older.timeout:
            ends = older.ends
        return replace(self, starts=min(self.starts, older.starts), ends=ends)


def too_large(alert: Alert) -> str:
    """What of an alert is larger than is taken; empty: nothing."""
    if len(alert.labels) > MAX_LABELS:
        return f"{len(alert.labels)} labels; expected at most {MAX_LABELS}"
    if sum(len(k.encode()) + len(v.encode()) + 2 for k, v in alert.labels.items()) > MAX_KEY_BYTES:
        return f"labels of more than {MAX_KEY_BYTES} bytes"
    if sum(len(k.encode()) + len(v.encode()) for k, v in alert.annotations.items()) > MAX_ANNOTATION_BYTES:
        return f"annotations of more than {MAX_ANNOTATION_BYTES} bytes"
    return ""


@dataclass(frozen=True, slots=True)
class _Held:
    """An alert that is firing, `since` when in the journal, and its end as it is on disk."""

    alert: Alert
    since: int
    on_disk: int


class External:
    """The alerts that are firing. `take`, `tick` and what follows them are the flush thread's, `alerts` anybody's."""

    def __init__(self, db: sqlite3.Connection, open: Mapping[Key, Alarm]):
        """Take up what a former run left among the alarms that are open. Raises sqlite3.Error."""
        ends = {(rule, series): last for rule, series, last in db.execute("SELECT rule, series, last FROM alarm_state")}
        self._lock = threading.Lock()
        self._held: dict[Key, _Held] = {}
        self._before: dict[Key, _Held | None] = {}  # what changed since the last commit
        self.too_many = 0  # alerts that were left out since MAX_ALERTS are firing
        for key, alarm in open.items():
            if is_external(alarm.last):
                self._held[key] = _Held(_alert_of(alarm.last, ends[key]), alarm.last.since, ends[key])

    def alerts(self) -> list[Alert]:
        """Those that are firing."""
        with self._lock:
            return [held.alert for held in self._held.values()]

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def columns(self, key: Key) -> tuple[int, int, int, float | None, bool, int]:
        """(code, since, last_true, worst, said, last) of an alarm, as `alarm_state` has them; last: its end."""
        held = self._held[key]
        return FIRING, held.since, held.alert.updated, None, True, held.alert.ends

    def wait(self, now_ns: int) -> None:
        """The hub was away: each alert has time to be sent again."""
        with self._lock:
            for key, held in self._held.items():
                alert = replace(held.alert, ends=max(held.alert.ends, now_ns + RESOLVE_NS))
                self._held[key] = replace(held, alert=alert)

    def take(self, alerts: Iterable[Alert], now_ns: int, is_told: Callable[[Transition], bool]) -> list[Change]:
        """What becomes of alerts that are sent. is_told: whether the journal has such a change."""
        latest: dict[Key, Alert] = {}
        for alert in alerts:
            key = alert.key
            latest[key] = alert.merged(latest[key]) if key in latest else alert
        changes = [self._take(key, alert, now_ns, is_told) for key, alert in latest.items()]
        return [one for one in changes if one is not None]

    def _take(self, key: Key, alert: Alert, now: int, is_told: Callable[[Transition], bool]) -> Change | None:
        held = self._held.get(key)
        if held is None:
            if alert.ends <= now:
                return None
            if len(self._held) >= MAX_ALERTS:
                self.too_many += 1
                return None
            change = _fired(key, alert, now, is_told)
            self._put(key, _Held(alert, change.transition.since, alert.ends))
            return change
        alert = alert.merged(held.alert)
        if alert.ends > now:
            self._put(key, replace(held, alert=alert))
            return None
        self._put(key, None)
        return _ended(key, held, now, "its sender says that it is over")

    def tick(self, now_ns: int) -> list[Change]:
        """Alerts that are over since they were not sent again."""
        over = [(key, held) for key, held in self._held.items() if held.alert.ends <= now_ns]
        for key, _ in over:
            self._put(key, None)
        return [_ended(key, held, now_ns, "it was not sent again in time") for key, held in over]

    @property
    def moved(self) -> list[Key]:
        """Alerts whose end is far from the one on disk: a sender who says an end may not send it again."""
        held = ((key, self._held.get(key)) for key in self._before)
        return [key for key, one in held if one is not None and abs(one.alert.ends - one.on_disk) > HOUR_NS]

    def write(self, db: sqlite3.Connection) -> None:
        """Write ends that moved far, in the transaction of the changes."""
        rows = [(self._held[key].alert.ends, *key) for key in self.moved]
        db.executemany("UPDATE alarm_state SET last = ? WHERE rule = ? AND series = ?", rows)

    def written(self) -> None:
        """What changed is on disk, as far as it must be."""
        for key in self.moved:
            self._put(key, replace(self._held[key], on_disk=self._held[key].alert.ends))
        self._before = {}

    def undo(self) -> None:
        """What changed could not be written: it did not happen."""
        before, self._before = self._before, {}
        for key, held in before.items():
            self._put(key, held)
        self._before = {}

    def _put(self, key: Key, held: _Held | None) -> None:
        self._before.setdefault(key, self._held.get(key))
        with self._lock:
            if held is None:
                self._held.pop(key, None)
            else:
                self._held[key] = held


def is_external(change: Transition) -> bool:
    """Whether another system decides this alarm."""
    return change.series.name == ""


def severity_of(labels: Mapping[str, str]) -> Severity:
    """What the label `severity` means among ours: "page" is critical, "error" major; what is not known is warning."""
    return _SEVERITY_OF.get(labels.get("severity", "").lower(), Severity.WARNING)


def _fired(key: Key, alert: Alert, now: int, is_told: Callable[[Transition], bool]) -> Change:
    annotations = dict(alert.annotations) | ({GENERATOR: alert.generator} if alert.generator else {})
    said = next((alert.annotations[k] for k in ("summary", "message", "description") if alert.annotations.get(k)), "")
    one = Transition(
        key[0], Series.from_key(key[1]), min(alert.starts, now), State.FIRING, now, severity_of(alert.labels),
        Evidence(float("nan"), why=said), annotations=annotations,
    )  # fmt: skip
    # It may come again with the begin that it had when it was over for us.
    return Change(key, -1, replace(one, since=now) if is_told(one) else one)


def _ended(key: Key, held: _Held, now: int, why: str) -> Change:
    alert = held.alert
    one = Transition(
        key[0], Series.from_key(key[1]), held.since, State.RESOLVED, now, severity_of(alert.labels),
        Evidence(float("nan"), why=why), annotations=dict(alert.annotations),
    )  # fmt: skip
    return Change(key, -1, one)


def _alert_of(change: Transition, ends: int) -> Alert:
    annotations = dict(change.annotations)
    generator = annotations.pop(GENERATOR, "")
    labels = dict(change.series.labels)
    if change.rule != NAMELESS:
        labels[ALERT_NAME] = change.rule
    return Alert(labels, annotations, change.since, ends, change.time, generator)
