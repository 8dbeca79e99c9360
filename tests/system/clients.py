"""Senders with a ledger of what was acknowledged, a receiver of webhooks, and Mosquitto's clients, for system tests."""

from __future__ import annotations

import http.server
import json
import selectors
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any

import paho.mqtt.client as paho

from almenara.testing.process import HubProcess

#: What a sender meets when the hub dies under it.
GONE = (OSError, HTTPException)


class HttpLedger(threading.Thread):
    """Posts numbered samples, a second of data time apart, and keeps the numbers that were acknowledged.

    What was not acknowledged goes out again, as a real sender does; `refused`: statuses other than 204.
    """

    def __init__(self, hub: HubProcess, name: str, start_s: int, batch: int = 20):
        super().__init__(daemon=True)
        self._hub, self._name, self._start_s, self._batch = hub, name, start_s, batch
        self.acknowledged: set[int] = set()
        self.refused: list[int] = []
        self.sent = 0
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            numbers = range(self.sent, self.sent + self._batch)
            body = "".join(f"{self._name} n={n} {(self._start_s + n) * 10**9}\n" for n in numbers).encode()
            self.sent = max(self.sent, numbers.start)
            try:
                status, _ = self._hub.post("/write", body, timeout_s=5)
            except GONE:
                status = 0
            if status == 204:
                self.acknowledged.update(numbers)
                self.sent = numbers.stop
            else:
                self.refused.append(status)
                time.sleep(0.02)

    def finish(self) -> None:
        """Send nothing more."""
        self._stopping.set()
        if self.is_alive():
            self.join()


class MqttLedger:
    """Publishes numbered samples at QoS 1 and keeps the numbers that the broker took (PUBACK)."""

    def __init__(self, port: int, name: str, start_s: int, user: str = "", password: str = ""):
        self.acknowledged: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._name, self._start_s, self.sent = name, start_s, 0
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"ledger-{name}", clean_session=False)
        if user:
            self._client.username_pw_set(user, password)
        self._client.on_socket_register_write = lambda *_: None  # `_drive` writes
        self._client.max_inflight_messages_set(50)
        self._client.on_publish = lambda _c, _d, mid, _r, _p: self.acknowledged.add(self._numbers[mid])
        self._client.connect_async("127.0.0.1", port)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._drive, daemon=True)
        self._thread.start()

    def _drive(self) -> None:
        """paho's own loop waits with select(), which takes no descriptor past 1023: this process may have more."""
        while not self._stopping.wait(0.2):
            with suppress(OSError):
                self._client.reconnect()
                with selectors.DefaultSelector() as selector:
                    selector.register(link := self._client.socket(), selectors.EVENT_READ)
                    while self._client.socket() is link:
                        self._client.loop_write()
                        selector.select(0.01)
                        self._client.loop_read()
                        self._client.loop_misc()

    def publish(self, count: int) -> None:
        """Hand so many more to the client, which sends and resends them."""
        for n in range(self.sent, self.sent + count):
            payload = f'{{"{self._name}": {n}, "time": {self._start_s + n}}}'
            message = self._client.publish("ledger/mqtt", payload, qos=1)
            self._numbers[message.mid] = n
        self.sent += count

    def finish(self) -> None:
        """Hang up."""
        self._stopping.set()
        self._client.disconnect()
        self._thread.join()


class Hook:
    """A receiver of webhooks: what it was told, as (status, [alertname]); `status` is what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.asked = 0
        self.told: list[tuple[str, list[str]]] = []
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.asked += 1
                if hook.status == 200:
                    hook.told.append((body["status"], [one["labels"]["alertname"] for one in body["alerts"]]))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def webhook() -> Iterator[Hook]:
    """A receiver that listens."""
    hook = Hook()
    try:
        yield hook
    finally:
        hook.close()


def publish(port: int, topic: str, payload: str | bytes, *more: str) -> subprocess.CompletedProcess[bytes]:
    """Publish with mosquitto_pub."""
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-t", topic, "-s", *more]
    payload = payload.encode() if isinstance(payload, str) else payload
    return subprocess.run(command, input=payload, capture_output=True, timeout=100, check=False)


def hear(port: int, topic: str, *more: str) -> list[tuple[str, str]]:
    """(topic, payload) of what mosquitto_sub hears; say when to stop with -C or -W."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-v", "-t", topic, *more]
    said = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False).stdout
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in said.splitlines()]
