"""Pushes alarms to Prometheus Alertmanagers, as Prometheus itself does, and they tell people.

API: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml, POST /api/v2/alerts.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from almenara.model.alarm import Alarm, Incident, Notice, NoticeKind, State
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.time import MINUTE_NS, NS, format_time
from almenara.notifiers._http import Poster, check_headers
from almenara.notifiers._plain import has_ended, incidents_of, numbers_of, to_json
from almenara.plugin.options import Range, Secret

log = logging.getLogger(__name__)

#: An alert that has ended is sent again for so long, as Prometheus does: another Alertmanager may have missed it.
ENDED_NS = 15 * MINUTE_NS
_AT_ONCE = 500  # alerts a post
_NOT_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Alert = dict[str, Any]


class Known(NamedTuple):
    """An alert that was sent, and until when (ns) it is sent again; 0 while its alarm is open."""

    alert: Alert
    until: int


class AlertmanagerPush:
    """Sends each alarm to Alertmanagers as an alert, which is resolved when the alarm is.

    All of them are told, as the members of a cluster must be; it is enough that one takes it. Open alarms are sent
    again every minute, so that an Alertmanager which was started anew knows them.

    Options:
        urls: Addresses of all Alertmanagers, such as `http://127.0.0.1:9093`, with what stands before /api.
        token: Sent as `Authorization: Bearer ...`; empty for none.
        headers: More HTTP headers.
        labels: Added to the labels of each alert.
        ca_file: PEM file of the authority that signed the servers' certificate; empty: those of the system.
        external_url: Address of this hub's dashboard, for the link of each alert.
        resend_s: How often open alarms are sent again.
        hold_s: An open alert ends by itself so long after it was last sent: longer than a hub is ever down.
        timeout_s: Longest time for one post.
    """

    example = {"urls": ["http://127.0.0.1:9093"]}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self,
        *,
        urls: list[Secret],
        token: Secret = Secret(""),
        headers: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        ca_file: str = "",
        external_url: str = "",
        resend_s: Annotated[float, Range(1, 3600)] = 60.0,
        hold_s: Annotated[float, Range(120)] = 86_400.0,
        timeout_s: float = 10.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if not urls:
            raise ConfigError([Problem("urls", "is empty; expected at least one address")])
        if hold_s < 2 * resend_s:
            raise ConfigError([Problem("hold_s", f"must be at least twice resend_s; got {hold_s:g} s")])
        if wrong := [name for name in labels or {} if not _LABEL.fullmatch(name)]:
            raise ConfigError([Problem(f"labels.{name}", "is no name of a label in Prometheus") for name in wrong])
        own = dict(headers or {}) | ({"Authorization": f"Bearer {token!s}"} if token else {})
        check_headers(own)
        self._posters = [
            Poster(url, what="Alertmanager", timeout_s=timeout_s, headers=own, ca_file=ca_file, option=f"urls[{i}]")
            for i, url in enumerate(urls)
        ]
        self._labels, self._external_url = dict(labels or {}), external_url
        self._resend_s, self._hold_ns, self._clock = resend_s, int(hold_s * NS), clock
        self._known: dict[tuple[Any, ...], Known] = {}  # by rule and series: what is sent again
        self._resending: asyncio.Task[None] | None = None

    async def notify(self, notice: Notice) -> None:
        """Push all alarms of it; returns when at least one Alertmanager has them. The graph is not sent. Raises
        NotifyError, worth another try where it is for one of them."""
        now = self._clock()
        if notice.kind is NoticeKind.TEST:
            labels = {"alertname": "AlmenaraTest", **self._labels}
            await self._push([_test_alert(notice, labels, now)], now)
            return
        changed = self._changed(notice, now)
        await self._push([one.alert for one in changed.values()], now)
        self._known |= changed
        if self._resending is None or self._resending.done():
            self._resending = asyncio.create_task(self._resend(), name="alertmanager, open alarms again")

    def _changed(self, notice: Notice, now_ns: int) -> dict[tuple[Any, ...], Known]:
        """What a notice says of each alarm. Where the labels of one changed, as with its severity, the alert with the
        old labels ends: to an Alertmanager it is another one."""
        changed: dict[tuple[Any, ...], Known] = {}
        for incident in incidents_of(notice):
            for member in incident.members:
                key = (member.last.rule, member.last.series.key)
                alert = alert_of(member, incident, self._labels, notice.link or self._external_url)
                before = self._known.get(key)
                if before and not before.until and before.alert["labels"] != alert["labels"]:
                    ended = before.alert | {"endsAt": max(format_time(now_ns), before.alert["startsAt"])}
                    changed[*key, before.alert["labels"]["severity"]] = Known(ended, now_ns + ENDED_NS)
                changed[key] = Known(alert, now_ns + ENDED_NS if "endsAt" in alert else 0)
        return changed

    async def check(self) -> None:
        """Does one of them take a post? Raises NotifyError."""
        await self._push([], self._clock())

    async def _push(self, alerts: Sequence[Alert], now_ns: int) -> None:
        """To all at once. Raises the NotifyError that is worth another try, where none took it."""
        alive = format_time(now_ns + self._hold_ns)
        sent = [{"endsAt": alive} | alert for alert in alerts]
        bodies = [to_json_list(sent[at : at + _AT_ONCE]) for at in range(0, max(1, len(sent)), _AT_ONCE)]
        found = await asyncio.gather(*(_post(poster, bodies) for poster in self._posters))
        errors = [error for error in found if error is not None]
        if len(errors) == len(self._posters):
            raise max(errors, key=lambda error: error.retry)
        for error in errors:
            log.warning("%s; another Alertmanager took it", error)

    async def _resend(self) -> None:
        """Send what is open again and again, and what has ended for a while."""
        while self._known:
            await asyncio.sleep(self._resend_s)
            now = self._clock()
            self._known = {key: one for key, one in self._known.items() if not 0 < one.until < now}
            try:
                await self._push([one.alert for one in self._known.values()], now)
            except NotifyError as error:
                log.warning("open alarms could not be sent again: %s", error)

    async def close(self) -> None:
        """Stop sending again; close connections. What is open stays so until `hold_s` is over."""
        if self._resending is not None:
            self._resending.cancel()
            await asyncio.gather(self._resending, return_exceptions=True)
            self._resending = None
        for poster in self._posters:
            await poster.close()


async def _post(poster: Poster, bodies: Sequence[bytes]) -> NotifyError | None:
    try:
        for body in bodies:
            await poster.post(body, {"Content-Type": "application/json"}, path="/api/v2/alerts", tell=True)
    except NotifyError as error:
        return error
    return None


def to_json_list(alerts: Sequence[Alert]) -> bytes:
    """The alerts as the API wants them."""
    return b"[" + b",".join(map(to_json, alerts)) + b"]"


def alert_of(alarm: Alarm, incident: Incident, more: Mapping[str, str], link: str) -> Alert:
    """One alarm as an alert of the API; without `endsAt` while it is open."""
    last = alarm.last
    labels = {_label(name): text for name, text in (*last.series.labels, *last.labels.items()) if text}
    labels |= {"alertname": last.rule, "series": last.series.name, "severity": last.severity.value} | dict(more)
    numbers = {name: f"{number:.6g}" for name, number in numbers_of(last.evidence).items() if number is not None}
    said = {"incident": str(incident.id), "summary": last.evidence.why}
    notes = {_label(name): text for name, text in {**numbers, **said, **last.annotations}.items() if text}
    alert = {"labels": labels, "annotations": notes, "startsAt": format_time(last.since)}
    if has_ended(alarm, incident):
        itself = last.state in (State.RESOLVED, State.INACTIVE)
        ended = last.time if itself else incident.resolved or last.time
        alert["endsAt"] = format_time(max(ended, last.since))  # one that ends before it begins is refused
    return alert | ({"generatorURL": link} if link.startswith(("http://", "https://")) else {})


def _label(name: str) -> str:
    plain = _NOT_LABEL.sub("_", name)
    return f"_{plain}" if plain[:1].isdigit() or not plain else plain


def _test_alert(notice: Notice, labels: Mapping[str, str], now_ns: int) -> Alert:
    notes = {"summary": notice.title or "Test"}
    ends = format_time(now_ns + MINUTE_NS)
    return {"labels": dict(labels), "annotations": notes, "startsAt": format_time(now_ns), "endsAt": ends}
