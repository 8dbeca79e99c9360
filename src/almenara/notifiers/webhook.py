"""Posts incidents to a URL as JSON in the shape of Alertmanager's webhook, version 4, or in one of your own.

Source: prometheus.io/docs/alerting/latest/configuration/#webhook_config.
"""

from __future__ import annotations

import base64
import hmac
import math
from typing import Any

from almenara.model.alarm import Alarm, Incident, Notice, NoticeKind, State
from almenara.model.errors import ConfigError, Problem
from almenara.model.time import format_time
from almenara.notifiers._http import Poster, check_headers
from almenara.notifiers._plain import (
    MOST_ALARMS,
    check_template,
    fields,
    fill,
    has_ended,
    incidents_of,
    is_about_none,
    to_json,
)
from almenara.plugin.options import Secret

_NEVER = "0001-01-01T00:00:00Z"  # how Alertmanager writes "has not ended"


class Webhook:
    """Posts each incident as JSON to a URL, as Alertmanager does or by a template.

    Every post has the header `Idempotency-Key`, which is the same when it is tried again.

    Options:
        url: Where to post, `https://...` or `http://...`.
        token: Sent as `Authorization: Bearer ...`; empty for none.
        headers: More HTTP headers.
        template: The body, a table in whose texts `{title}` and the like are filled in; empty: Alertmanager's shape.
        secret: Key that signs the body with HMAC-SHA256; empty: not signed.
        signature_header: Where the signature stands, as `sha256=` and 64 hexadecimal digits.
        graph: Add the graph as base64: `graph_png` beside the alerts, `{graph_png}` in a template.
        ca_file: PEM file of the authority that signed the server's certificate; empty: those of the system.
        external_url: Address of this hub's dashboard, for links in the message.
        receiver: Name of the receiver in the message.
        timeout_s: Longest time for one post.
    """

    example = {"url": "http://127.0.0.1:9/hook"}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self,
        *,
        url: Secret,
        token: Secret = Secret(""),
        headers: dict[str, str] | None = None,
        template: dict[str, Any] | None = None,
        secret: Secret = Secret(""),
        signature_header: str = "X-Hub-Signature-256",
        graph: bool = False,
        ca_file: str = "",
        external_url: str = "",
        receiver: str = "almenara",
        timeout_s: float = 10.0,
    ) -> None:
        own = dict(headers or {}) | ({"Authorization": f"Bearer {token!s}"} if token else {})
        self._poster = Poster(url, what="webhook", timeout_s=timeout_s, headers=own, ca_file=ca_file)
        check_headers({signature_header: ""})
        if "\r" in token or "\n" in token or not token.isascii():
            raise ConfigError([Problem("token", "holds characters that no header may have")])
        _check_template(template or {})
        self._template, self._secret, self._signature_header = template, secret.encode(), signature_header
        self._external_url, self._receiver, self.shows_graph = external_url, receiver, graph

    async def notify(self, notice: Notice) -> None:
        """Post it; returns when the receiver has answered 2xx. Of a digest in Alertmanager's shape each incident is
        posted by itself.

        Raises NotifyError: worth another try after a time-out, a lost connection, 408, 429 and 5xx; not after any
        other answer. A redirect is not followed: it would carry the token and the alarm to another place.
        """
        for key, body in self._bodies(notice):
            payload = to_json(body)
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"almenara-{notice.id}{key}"}
            if self._secret:
                headers[self._signature_header] = f"sha256={hmac.digest(self._secret, payload, 'sha256').hex()}"
            await self._poster.post(payload, headers)

    def _bodies(self, notice: Notice) -> list[tuple[str, dict[str, Any]]]:
        graph = base64.b64encode(notice.graph_png or b"").decode() if self.shows_graph else ""
        if self._template:
            return [("", fill(self._template, fields(notice) | {"graph_png": graph}))]
        more = {"graph_png": graph} if graph else {}
        link = notice.link or self._external_url
        if is_about_none(notice):
            return [("", _lone_body(notice, self._receiver, self._external_url) | more)]
        return [
            (f"-{one.id}", webhook_body(one, self._receiver, self._external_url, link) | (more if not i else {}))
            for i, one in enumerate(incidents_of(notice))
        ]

    async def close(self) -> None:
        """Close connections that were kept open."""
        await self._poster.close()


def _check_template(template: dict[str, Any]) -> None:
    check_template(template, "template", ["graph_png"])
    try:
        to_json(template)
    except (TypeError, ValueError) as error:
        raise ConfigError([Problem("template", f"holds what JSON cannot say: {error}")]) from error


def webhook_body(
    incident: Incident, receiver: str = "almenara", external_url: str = "", link: str = ""
) -> dict[str, Any]:
    """The incident as Alertmanager would post it. Numbers stand in the annotations, as text; `link` leads from an
    alert to where it is shown."""
    # Open alarms first, so that those which are left out of a long list have ended.
    members = sorted(incident.members, key=lambda member: has_ended(member, incident))
    alerts = [_alert(member, incident, link or external_url) for member in members[:MOST_ALARMS]]
    labels = {"incident": str(incident.id)}
    return {
        "version": "4",
        "groupKey": f'{{}}:{{incident="{incident.id}"}}',
        "truncatedAlerts": max(0, len(members) - MOST_ALARMS),
        "status": "resolved" if incident.state is State.RESOLVED else "firing",
        "receiver": receiver,
        "groupLabels": labels,
        "commonLabels": _common([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
        "externalURL": external_url,
        "alerts": alerts,
    }


def _lone_body(notice: Notice, receiver: str, external_url: str) -> dict[str, Any]:
    """A group with one alert that says what is no alarm: that this is a test, or what a report says."""
    name = "AlmenaraTest" if notice.kind is NoticeKind.TEST else "AlmenaraReport"
    labels, annotations = {"alertname": name, "severity": "none"}, {"summary": notice.title}
    if notice.kind is not NoticeKind.TEST:
        annotations["description"] = "\n".join(f"{fact.name}: {fact.text}" for fact in notice.facts)
    now = format_time(notice.incident.since)
    alert = {
        "status": "firing", "labels": labels, "annotations": annotations, "startsAt": now, "endsAt": _NEVER,
        "generatorURL": notice.link or external_url,
        "fingerprint": f"{_fnv1a(b'test' if notice.kind is NoticeKind.TEST else notice.thread.encode()):016x}",
    }  # fmt: skip
    return {
        "version": "4", "groupKey": f'{{}}:{{alertname="{name}"}}', "truncatedAlerts": 0, "status": "firing",
        "receiver": receiver, "groupLabels": {"alertname": name}, "commonLabels": labels,
        "commonAnnotations": annotations, "externalURL": external_url, "alerts": [alert],
    }  # fmt: skip


def _alert(alarm: Alarm, incident: Incident, link: str) -> dict[str, Any]:
    last, ended = alarm.last, has_ended(alarm, incident)
    evidence = last.evidence
    numbers = {name: getattr(evidence, name) for name in ("value", "score", "yhat", "lower", "upper")}
    annotations = {name: f"{number:.6g}" for name, number in numbers.items() if not math.isnan(number)}
    annotations |= {"summary": evidence.why} if evidence.why else {}
    over = last.time if last.state in (State.RESOLVED, State.INACTIVE) else incident.resolved or last.time
    return {
        "status": "resolved" if ended else "firing",
        "labels": {
            **dict(last.series.labels),
            **last.labels,
            "alertname": last.rule,
            "series": last.series.name,
            "severity": last.severity.value,
        },
        "annotations": annotations | dict(last.annotations),
        "startsAt": format_time(last.since),
        "endsAt": format_time(over) if ended else _NEVER,
        "generatorURL": link,
        "fingerprint": f"{_fnv1a(last.rule.encode() + b'|' + last.series.key):016x}",
    }


def _common(maps: list[dict[str, str]]) -> dict[str, str]:
    if not maps:
        return {}
    return {k: v for k, v in maps[0].items() if all(other.get(k) == v for other in maps[1:])}


def _fnv1a(data: bytes) -> int:
    """64-bit FNV-1a (isthe.com/chongo/tech/comp/fnv), the hash that Prometheus prints as a fingerprint."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
