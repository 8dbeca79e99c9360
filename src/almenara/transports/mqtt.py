"""MQTT 3.1.1 and 5 over TCP or TLS (docs.oasis-open.org/mqtt), with the paho client on a connection of our own.

At QoS 1 nothing is lost on the way: what we send is repeated until the broker has answered, and what we receive is
acknowledged only when its packet is done. What a broker sends twice is a repetition of the same rows, which the store
folds into one.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from almenara.model.errors import BusError, Refused
from almenara.model.tls import client_context
from almenara.model.topic import OFFLINE, ONLINE, check_topic
from almenara.plugin.contracts import Outcome, Packet
from almenara.plugin.options import Range, Secret
from almenara.transports._mqtt_address import Address
from almenara.transports._mqtt_link import Link, Published
from almenara.transports._mqtt_loop import Client, Loop

_MOST_WAITING = 10_000  # packets received and not yet read by our side; as many again where they are not QoS 0
_MOST_BYTES = 64 << 20
_MOST_SENDING = 256  # messages sent and not yet answered
_MOST_NAMES = 100_000


class Mqtt:
    """Sends and receives over an MQTT broker.

    Options:
        url: The broker, `mqtt://host:port` or, with TLS, `mqtts://host:port`.
        client_id: How the broker knows us; empty: a new random one each start. With one, the broker keeps what arrives
            for us while we are away.
        topics: What to subscribe to; the wildcards + and # may be used.
        qos: 0 best effort, 1 never lost.
        username: User name at the broker; empty for none.
        password: Its password.
        ca_file: PEM file of the authority that signed the broker's certificate; empty: those of the system.
        cert_file: PEM file of our own certificate, where the broker asks for one.
        key_file: PEM file of its private key, without a passphrase; empty: it is in cert_file too.
        version: Version of MQTT, "3.1.1" or "5".
        keepalive_s: Longest silence before the connection counts as lost.
        session_s: How long an MQTT 5 broker keeps what arrives while we are away.
        will_topic: Where to say `online`, and where the broker says `offline` when we are gone; empty: nowhere.
    """

    def __init__(
        self,
        *,
        url: str = "mqtt://127.0.0.1:1883",
        client_id: str = "",
        topics: Sequence[str] = (),
        qos: Annotated[int, Range(0, 1)] = 1,
        username: str = "",
        password: Secret = Secret(""),
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        version: Literal["3.1.1", "5"] = "3.1.1",
        keepalive_s: float = 30.0,
        session_s: float = 604_800.0,
        will_topic: str = "",
        clock: Callable[[], int] = time.time_ns,
        _will_kept: bool = True,
    ) -> None:
        self.address = Address.parse(url)
        self.problem = "not connected yet"  # empty while connected
        self.connected_ns = 0
        self.connections = 0  # made so far
        self.best_effort_lost = 0  # QoS 0 packets that the reader was too slow for
        self.retained_skipped = 0  # old messages that the broker shows to each new subscriber
        if will_topic:
            check_topic(will_topic)
        self._topics, self._qos, self._clock = tuple(topics), qos, clock
        self._will, self._will_kept = will_topic, _will_kept
        self._five, self._session_s = version == "5", session_s
        self._keepalive_s, self._persistent = keepalive_s, bool(client_id)
        self._lock = threading.Lock()
        self._arrived: list[Packet] = []
        self._bytes = 0
        self._names: dict[bytes, tuple[str, str]] = {}  # of topics: as text, and as the source of a packet
        self._stopping = False
        self.client_id = client_id or f"almenara-{secrets.token_hex(6)}"
        files = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
        self._thread = Loop(self)
        self._client = self._make(username, str(password), client_context(url, **files))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sent: dict[int, tuple[asyncio.Future[str], int]] = {}  # by packet number, with the QoS

    def _make(self, username: str, password: str, tls: ssl.SSLContext | None) -> Client:
        client = Client(
            self._thread.wake,
            tls,
            client_id=self.client_id,
            clean_session=None if self._five else not self._persistent,
            protocol=paho.MQTTv5 if self._five else paho.MQTTv311,
        )
        if username:
            client.username_pw_set(username, password)
        if self._will:
            client.will_set(self._will, OFFLINE, qos=1 if self._will_kept else 0, retain=self._will_kept)
        client.max_inflight_messages_set(_MOST_SENDING)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message, client.on_publish = self._on_message, self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    # --- our side: coroutines of one loop ---

    async def start(self) -> None:
        """Begin to connect, and go on until `close`. `send` and `receive` do it by themselves."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._up, self._news = asyncio.Event(), asyncio.Event()
        self._turn = asyncio.Semaphore(_MOST_SENDING)
        extra: dict[str, Any] = {}
        if self._five:
            extra = {"clean_start": not self._persistent, "properties": self._session()}
        self._client.connect_async(self.address.host, self.address.port, max(1, int(self._keepalive_s)), **extra)
        self._thread.start(self._client)

    async def check(self) -> None:
        """Raises BusError where the broker cannot be reached, or refuses us."""
        await self.start()
        try:
            async with asyncio.timeout(10):
                await self._up.wait()
        except TimeoutError as error:
            raise BusError(f"MQTT broker at {self.address}: {self.problem}") from error

    async def send(self, topic: str, payload: bytes, *, retain: bool = False, qos: int | None = None) -> None:
        """Returns when the broker has taken it (PUBACK; at QoS 0: when it was written to the connection).

        Waits while there is no connection, and sends again after one was lost. Raises ConfigError for a topic that
        brokers refuse, BusError where the broker says no (MQTT 5) or we were closed.
        """
        check_topic(topic)
        await self.start()
        qos = self._qos if qos is None else qos
        async with self._turn:
            while True:
                await self._until_up()
                if not (refused := await self._send_once(topic, payload, retain, qos)):
                    return
                if refused != _LOST:
                    raise BusError(f"MQTT broker at {self.address}: {topic}: {refused}")

    async def _until_up(self) -> None:
        await self._up.wait()
        if self._stopping:
            raise BusError(f"MQTT client of {self.address} is closed")

    async def _send_once(self, topic: str, payload: bytes, retain: bool, qos: int) -> str:
        assert self._loop is not None
        info = self._client.publish(topic, payload, qos, retain)
        if qos == 0 and info.rc != paho.MQTT_ERR_SUCCESS:  # QoS 1 is kept by paho and sent with the next connection
            await asyncio.sleep(0.05)
            return _LOST
        # paho's answer comes through this loop, so it cannot overtake the next line.
        answer: asyncio.Future[str] = self._loop.create_future()
        self._sent[info.mid] = (answer, qos)
        try:
            return await answer
        finally:
            self._sent.pop(info.mid, None)

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """What arrived, all that waits at a time. A packet is acknowledged to the broker by its `done(...)`; after
        `done(Refused)` it comes again."""
        await self.start()
        while True:
            await self._news.wait()
            self._news.clear()
            full = self.is_full()
            with self._lock:
                packets, self._arrived = self._arrived, []
                self._bytes = 0
            if full:
                self._thread.wake()
            if packets:
                yield packets
            if self._stopping:
                return

    async def close(self) -> None:
        """Say `offline`, hang up, end `receive`."""
        if self._loop is None or self._stopping:
            return
        if self._will and not self.problem:
            with contextlib.suppress(TimeoutError, BusError):
                async with asyncio.timeout(2):
                    await self.send(self._will, OFFLINE, retain=True, qos=1)
        self._stopping = True
        self._client.disconnect()
        await asyncio.to_thread(self._thread.stop)
        self.problem = "closed"
        for answer, _ in list(self._sent.values()):
            _answer(answer, "closed")
        self._up.set()
        self._news.set()

    # --- the thread of the connection ---

    def _session(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = int(self._session_s) if self._persistent else 0
        return properties

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any = None) -> None:
        if reason.is_failure:
            self.problem = f"the broker refused us: {reason}"
            return
        # Also when the broker has kept our session: it may hold fewer topics than we ask for now.
        if self._topics:
            client.subscribe([(topic, self._qos) for topic in self._topics])
        if self._will:
            client.publish(self._will, ONLINE, qos=1, retain=True)
        self.problem, self.connected_ns = "", time.time_ns()
        self.connections += 1
        self._tell(self._up.set)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: Any, _properties: Any = None) -> None:
        refused = [t for t, r in zip(self._topics, reasons, strict=False) if r.is_failure]
        if refused:
            self.problem = f"the broker refused the subscription to {', '.join(refused)}"

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any = None) -> None:
        if not self.problem:
            self.problem = f"connection lost: {reason}"
        self._tell(self._down)

    def cannot_connect(self, error: Exception) -> None:
        """Nobody answers, or TLS failed; called by the loop, which tries again."""
        if isinstance(error, ssl.SSLError):
            self.problem = f"cannot connect: TLS failed: {getattr(error, 'verify_message', '') or error}"
        else:
            self.problem = f"cannot connect: nobody answers there: {getattr(error, 'strerror', None) or error}"

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any = None, _properties: Any = None) -> None:
        # No lock here: paho calls with its own held, and `publish` takes those.
        self._tell(self._published, mid, str(reason) if reason is not None and reason.is_failure else "")

    def _on_message(self, client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        """A message of QoS 2, which a session may bring that asked for it once; all others pass by paho."""
        number, link = message.mid.to_bytes(2, "big"), client.socket()

        def acknowledge(_number: bytes) -> None:
            if client.socket() is link:
                client.ack(message.mid, 2)

        found = Published(message.topic.encode(), bytes(message.payload), number, message.retain)
        self._take([found], acknowledge)

    def arrived(self, link: Link, messages: Sequence[Published]) -> None:
        """Messages of one read; called by the loop."""
        self._take(messages, link.acknowledge)

    def _take(self, messages: Sequence[Published], acknowledge: Callable[[bytes], None]) -> None:
        now, room = self._clock(), _MOST_WAITING - len(self._arrived)
        packets: list[Packet] = []
        for topic, payload, number, retain in messages:
            if retain:
                # Sent because we subscribed, not because anybody measured something: its age is not known, and it
                # would come as a new sample after each reconnect.
                self.retained_skipped += 1
                if number:
                    acknowledge(number)
            elif number:
                packets.append(self._packet(topic, payload, now, acknowledge, number))
            elif len(packets) < room:
                name, source = self._named(topic)
                packets.append(Packet(name, payload, now, source, qos=0))
            else:
                self.best_effort_lost += 1
        if packets:
            with self._lock:
                nobody_told = not self._arrived
                self._arrived += packets
                self._bytes += sum(len(p.payload) for p in packets)
            if nobody_told:
                self._tell(self._news.set)

    def is_full(self) -> bool:
        """Whether reading must wait: the broker then waits with us. Longer than its keepalive, and it drops the
        connection and sends again later, for nothing of this was acknowledged."""
        return self._bytes >= _MOST_BYTES or len(self._arrived) >= 2 * _MOST_WAITING

    def _named(self, topic: bytes) -> tuple[str, str]:
        try:
            return self._names[topic]
        except KeyError:
            if len(self._names) >= _MOST_NAMES:  # clients make up topics; forgetting costs only time
                self._names.clear()
            name = topic.decode(errors="replace")
            self._names[topic] = found = name, "mqtt:" + name
            return found

    def _packet(
        self, topic: bytes, payload: bytes, received_ns: int, acknowledge: Callable[[bytes], None], number: bytes
    ) -> Packet:
        name, source = self._named(topic)
        done = partial(self._done, topic, payload, received_ns, acknowledge, number)
        return Packet(name, payload, received_ns, source, done=done)

    def _done(
        self,
        topic: bytes,
        payload: bytes,
        received_ns: int,
        acknowledge: Callable[[bytes], None],
        number: bytes,
        outcome: Outcome,
    ) -> None:
        if isinstance(outcome.error, Refused):
            packet = self._packet(topic, payload, received_ns, acknowledge, number)
            self._tell(self._later, packet, outcome.error.retry_after_s)
        else:
            acknowledge(number)

    def _tell(self, call: Callable[..., object], *arguments: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call, *arguments)

    # --- what the thread tells our side ---

    def _down(self) -> None:
        if self._stopping:
            return
        self._up.clear()
        for answer, qos in list(self._sent.values()):
            if qos == 0:  # paho forgets these with the connection
                _answer(answer, _LOST)

    def _published(self, mid: int, refused: str) -> None:
        if mid in self._sent:
            _answer(self._sent[mid][0], refused)

    def _later(self, packet: Packet, after_s: float) -> None:
        """The hub could not take it now: give it again. It stays unacknowledged meanwhile, so nothing is lost."""
        assert self._loop is not None
        self._loop.call_later(after_s, self._again, packet)

    def _again(self, packet: Packet) -> None:
        with self._lock:
            self._arrived.append(packet)
            self._bytes += len(packet.payload)
        self._news.set()


_LOST = "lost"


def _answer(answer: asyncio.Future[str], refused: str) -> None:
    if not answer.done():
        answer.set_result(refused)
