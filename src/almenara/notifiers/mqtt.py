"""Tells of open alarms and incidents on MQTT topics: one retained message each, cleared when it is resolved.

Any MQTT program that subscribes to `almenara/alarm/#` has the list of open alarms at once, and hears of each change.
"""

from __future__ import annotations

import asyncio
import secrets
import selectors
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from almenara.model.alarm import Incident, Notice, State, Transition
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.tls import client_context
from almenara.model.topic import ROOT, check_topic, slug
from almenara.notifiers._plain import alarm_json, fields, incident_json, incidents_of, to_json
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
    return Message(topic, to_json(alarm_json(transition)), True)


def incident_message(notice: Notice, incident: Incident, root: str = ROOT) -> Message:
    """What to publish of an incident: retained JSON while it is open, then an empty retained message."""
    topic = f"{root}/incident/{incident.id}"
    if incident.state is State.RESOLVED:
        return Message(topic, b"", True)
    said = {"title": notice.title, "facts": {fact.name: fact.text for fact in notice.facts}, "link": notice.link}
    about = said if incident is notice.incident else {}
    return Message(topic, to_json({"kind": notice.kind.value, **about, **incident_json(incident)}), True)


class MqttNotifier:
    """Publishes alarms and incidents on an MQTT broker, as messages that stay while they are open.

    Topics: `almenara/alarm/RULE/SERIES` and `almenara/incident/ID`.

    Options:
        url: The broker, `mqtt://host:port` or, with TLS, `mqtts://host:port`.
        root: First level of the topics.
        incidents: Publish incidents too, not only their alarms.
        message_topic: Publish each notice here, not retained, as flat JSON with `title`, `text`, `severity`... for
            mqttwarn, Node-RED and the like; empty: nowhere.
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
        incidents: bool = True,
        message_topic: str = "",
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
        if message_topic:
            check_topic(message_topic)
        self._root, self._timeout_s = root, timeout_s
        self._incidents, self._message_topic = incidents, message_topic
        self._host, self._port = parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._login = (username, str(password))
        self._tls = client_context(url, ca_file=ca_file, cert_file=cert_file, key_file=key_file)

    async def notify(self, notice: Notice) -> None:
        """Publish the last state of each alarm, the incident and the message; returns when the broker has all. The
        graph is not sent. Raises NotifyError."""
        await self._sent(self.messages(notice))

    async def check(self) -> None:
        """Does the broker let us in? Raises NotifyError."""
        await self._sent([])

    def messages(self, notice: Notice) -> list[Message]:
        """All that is published of a notice; of a test only the message."""
        about = incidents_of(notice)
        found = [alarm_message(member.last, self._root) for incident in about for member in incident.members]
        found += [incident_message(notice, one, self._root) for one in about] if self._incidents else []
        if self._message_topic:
            found.append(Message(self._message_topic, to_json(fields(notice)), False))
        return found

    async def _sent(self, messages: Sequence[Message]) -> None:
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
