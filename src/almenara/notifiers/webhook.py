"""Posts incidents to a URL as JSON in the shape of Alertmanager's webhook, version 4, which many receivers understand.

Source: prometheus.io/docs/alerting/latest/configuration/#webhook_config.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlsplit

import httpx

from almenara.model.alarm import Alarm, Incident, Notice, State
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.time import format_time
from almenara.plugin.options import Secret

_NEVER = "0001-01-01T00:00:00Z"  # how Alertmanager writes "has not ended"
_MOST_ALERTS = 1000


class Webhook:
    """Posts each incident as JSON to a URL.

    Options:
        url: Where to post, `https://...` or `http://...`.
        token: Sent as `Authorization: Bearer ...`; empty for none.
        headers: More HTTP headers.
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
        ca_file: str = "",
        external_url: str = "",
        receiver: str = "almenara",
        timeout_s: float = 10.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError([Problem("url", "must begin with http:// or https:// and a host")])
        self._url, self._external_url, self._receiver = str(url), external_url, receiver
        self._where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._headers = dict(headers or {}) | ({"Authorization": f"Bearer {token!s}"} if token else {})
        self._timeout_s, self._ca_file = timeout_s, ca_file
        self._client: httpx.AsyncClient | None = None

    async def notify(self, notice: Notice) -> None:
        """Post it; returns when the receiver has answered 2xx. The graph is not sent.

        Raises NotifyError: worth another try after a time-out, a lost connection, 408, 429 and 5xx; not after any
        other answer. A redirect is not followed: it would carry the token and the alarm to another place.
        """
        try:
            answer = await self._connected().post(
                self._url, json=webhook_body(notice.incident, self._receiver, self._external_url)
            )
        except httpx.HTTPError as error:
            # Not the exception's own text: it may hold the URL, and that its secret part.
            raise NotifyError(f"webhook {self._where}: {type(error).__name__}", retry=True) from error
        if not answer.is_success:
            again = answer.status_code >= 500 or answer.status_code in (408, 429)
            raise NotifyError(
                f"webhook {self._where}: answered {answer.status_code} {answer.reason_phrase}", retry=again
            )

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            verify = httpx.create_ssl_context(verify=self._ca_file) if self._ca_file else True
            self._client = httpx.AsyncClient(
                timeout=self._timeout_s, follow_redirects=False, verify=verify, headers=self._headers
            )
        return self._client

    async def close(self) -> None:
        """Close connections that were kept open."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def webhook_body(incident: Incident, receiver: str = "almenara", external_url: str = "") -> dict[str, Any]:
    """The incident as Alertmanager would post it. Numbers stand in the annotations, as text."""
    alerts = [_alert(member, incident, external_url) for member in incident.members[:_MOST_ALERTS]]
    return {
        "version": "4",
        "groupKey": f'{{}}:{{incident="{incident.id}"}}',
        "truncatedAlerts": max(0, len(incident.members) - _MOST_ALERTS),
        "status": "resolved" if incident.state is State.RESOLVED else "firing",
        "receiver": receiver,
        "groupLabels": {"incident": str(incident.id)},
        "commonLabels": _common([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
        "externalURL": external_url,
        "alerts": alerts,
    }


def _alert(alarm: Alarm, incident: Incident, external_url: str) -> dict[str, Any]:
    last = alarm.last
    ended = last.state is State.RESOLVED or incident.state is State.RESOLVED
    evidence = last.evidence
    numbers = {name: getattr(evidence, name) for name in ("value", "score", "yhat", "lower", "upper")}
    annotations = {name: f"{number:.6g}" for name, number in numbers.items() if not math.isnan(number)}
    annotations |= {"summary": evidence.why} if evidence.why else {}
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
        "endsAt": format_time(incident.resolved or last.time) if ended else _NEVER,
        "generatorURL": external_url,
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
