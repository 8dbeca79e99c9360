"""Tells of open alarms on MQTT topics: one retained message an alarm, cleared when it is resolved.

Any MQTT program that subscribes to `almenara/alarm/#` has the list of open alarms at once, and hears of each change.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from almenara.model.alarm import Evidence, Notice, State, Transition
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.time import format_time
from almenara.model.tls import client_context
from almenara.model.topic import ROOT, slug
from almenara.plugin.options import Secret

_TURN_S = 0.05  # longest wait for the broker before looking again


class Message(NamedTuple):
    """Ready to be published. An empty retained payload removes what was retained."""

    topic: str
    payload: bytes
    retain: bool


def alarm_message(transition: Transition, root: str = ROOT) -> Message:
    """What to publish when an alarm changes: retained JSON while it is open, then an empty retained message."""
    series = transition.series
    topic = f"{root}/alarm/{slug(transition.rule)}/{slug(str(series), series.key)}"
    if transition.state in (State.RESOLVED, State.INACTIVE):
        return Message(topic, b"", True)
    evidence = transition.evidence
    body = {
        "rule": transition.rule,
        "name": series.name,
        "labels": dict(series.labels) | dict(transition.labels),
        "state": transition.state.value,
        "severity": transition.severity.value,
        "since": format_time(transition.since),
        "time": format_time(transition.time),
        **numbers_of(evidence),
        "detector": evidence.detector,
        "why": evidence.why,
        "annotations": dict(transition.annotations),
    }
    return Message(topic, to_json(body), True)


def numbers_of(evidence: Evidence) -> dict[str, float | None]:
    """value, score, yhat, lower, upper; null for what JSON cannot say (NaN, infinities)."""
    numbers = {name: getattr(evidence, name) for name in ("value", "score", "yhat", "lower", "upper")}
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def to_json(body: dict[str, Any]) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class MqttNotifier:
    """Publishes the alarms of each incident on an MQTT broker, as retained messages below `almenara/alarm`.

    Options:
        url: The broker, `mqtt://host:port` or, with TLS, `mqtts://host:port`.
        root: First level of the topics.
        username: User name at the broker; empty for none.
        password: Its password.
        ca_file: PEM file of the authority that signed the broker's certificate; empty: those of the system.
        cert_file: PEM file of our own certificate, where the broker asks for one.
        key_file: PEM file of its private key, without a passphrase; empty: it is in cert_file too.
        timeout_s: Longest time for one notification.
    """

    def __init__(
        self,
        *,
        url: str = "mqtt://127.0.0.1:1883",
        root: str = ROOT,
        username: str = "",
        password: Secret = Secret(""),
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ConfigError([Problem("url", f"must begin with mqtt:// or mqtts:// and a host; got {parts.scheme!r}")])
        if slug(root) != root or not root:
            raise ConfigError([Problem("root", f"must be one level of letters, digits, - and _; got {root!r}")])
        self._root, self._timeout_s = root, timeout_s
        self._host, self._port = parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._login = (username, str(password))
        self._tls = client_context(url, ca_file=ca_file, cert_file=cert_file, key_file=key_file)

    async def notify(self, notice: Notice) -> None:
        """Publish each member's last state; returns when the broker has all. The graph is not sent. Raises
        NotifyError."""
        messages = [alarm_message(member.last, self._root) for member in notice.incident.members]
        try:
            await asyncio.to_thread(self._publish, messages)
        except OSError as error:  # TimeoutError and TLS errors are among them
            raise NotifyError(f"MQTT broker at {self._host}:{self._port}: {error}", retry=True) from error

    def _publish(self, messages: Sequence[Message]) -> None:
        """Connect, publish, hang up. Alarms are rare: a connection kept open for them would be one more to watch."""
        refused: list[str] = []
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=f"almenara-{secrets.token_hex(6)}",
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.on_connect = lambda _c, _d, _f, reason, _p: refused.append(str(reason)) if reason.is_failure else None
        client.on_socket_register_write = lambda *_: None  # we write, below
        if self._login[0]:
            client.username_pw_set(*self._login)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.connect_timeout = self._timeout_s
        client.connect(self._host, self._port)
        try:
            # Nothing is written before the broker has answered: one that refuses hangs up, and its word could be lost.
            self._until(client, lambda: bool(refused) or bool(client.is_connected()))
            if refused:
                raise ConnectionRefusedError(refused[0])
            sent = [client.publish(m.topic, m.payload, qos=1, retain=m.retain) for m in messages]
            self._until(client, lambda: all(map(_is_published, sent)))
            client.disconnect()
            self._until(client, lambda: client.socket() is None)
        finally:
            if (link := client.socket()) is not None:
                link.close()

    def _until(self, client: paho.Client, is_so: Callable[[], bool]) -> None:
        """Read and write until something is so. paho's own loop waits with select(), which takes no descriptor past
        1023, and a hub has more. Raises ConnectionError, TimeoutError."""
        deadline = time.monotonic() + self._timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(link := client.socket(), selectors.EVENT_READ)
            while not is_so():
                if client.socket() is not link:
                    raise ConnectionResetError("the broker hung up")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer within {self._timeout_s:g} s")
                if client.want_write():
                    client.loop_write()
                selector.select(_TURN_S)
                client.loop_read()  # also where nothing is to be seen: TLS may hold bytes that it has decrypted


def _is_published(info: paho.MQTTMessageInfo) -> bool:
    try:
        return bool(info.is_published())
    except RuntimeError:  # it was handed over just as the broker hung up; whoever waits learns why, or gives up in time
        return False
