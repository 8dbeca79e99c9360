"""Limits of a real hub: a sender that wants too much of it is told so, the others go on, and memory stays bounded.

A body over the limit, a bomb, a label of a megabyte: `test_bad_input.py`. A slow body, endless headers: `tests/web`.
A disk or log that refuses, and messages that are held back meanwhile: `test_disk_full.py`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)

MB = 1 << 20
CONFIG = "[http]\nmax_body_mb = 4\nmax_waiting_mb = 8\n[mqtt]\nenabled = false\n"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("limits") / "data", mqtt=False, config=CONFIG) as one:
        yield one


def resident_mb(hub: HubProcess) -> float:
    assert hub.process is not None
    return int(Path(f"/proc/{hub.process.pid}/statm").read_text().split()[1]) * 4096 / 1e6


class Sender:
    """A connection that sends a body bit by bit."""

    def __init__(self, hub: HubProcess):
        self.socket = socket.create_connection(("127.0.0.1", hub.http), timeout=60)
        self.socket.sendall(
            f"POST /write HTTP/1.1\r\nHost: 127.0.0.1:{hub.http}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def more(self, body: bytes) -> None:
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(body), body))

    def finish(self) -> bytes:
        """Everything it is answered."""
        self.socket.sendall(b"0\r\n\r\n")
        return self.answer()

    def answer(self) -> bytes:
        self.socket.settimeout(10)
        heard = b""
        while b"\r\n\r\n" not in heard and (part := self.socket.recv(65536)):
            heard += part
        return heard


def test_bodies_that_wait_are_bounded_all_together(hub: HubProcess) -> None:
    assert hub.post("/write", b"before v=1")[0] == 204
    before = resident_mb(hub)
    comment = b"#" + b"x" * (MB - 2) + b"\n"
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(hub)) for _ in range(7)]
        for sender in senders:
            sender.more(comment)
        late = stack.enter_context(Sender(hub))

        def is_full() -> bool:
            with Sender(hub) as one:
                one.more(comment)
                one.more(comment)
                one.socket.settimeout(0.3)
                try:
                    return one.socket.recv(64).startswith(b"HTTP/1.1 503 ")
                except TimeoutError:
                    return False

        wait_until(is_full, "a write to be turned away")
        for _ in range(2):
            late.more(comment)
        told = late.answer()
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in told.lower()
        assert resident_mb(hub) - before < 60
        assert hub.post("/write", b"small v=1")[0] == 204, "what is small still has room"
        for sender in senders:
            sender.more(b"kept v=1\n")
            assert sender.finish().startswith(b"HTTP/1.1 204 ")
    assert hub.query("kept_v") == {"kept_v": 1}
    assert hub.post("/write", comment * 3 + b"kept v=2")[0] == 204, "there is room again"


def until_cut_off(sender: Sender, limit: int) -> int:
    """Bytes that a sender without end got through."""
    sent = 0
    try:
        while sent < limit:
            sender.more(b"#" + b"x" * 65534 + b"\n")
            sent += 65536
    except ConnectionError:
        pass
    return sent


def test_an_endless_body_is_cut_off(hub: HubProcess) -> None:
    with Sender(hub) as sender:
        sent = until_cut_off(sender, 200 * MB)
    assert sent < 100 * MB
    assert hub.post("/write", b"after v=1")[0] == 204


@pytest.mark.parametrize("path", ["/write", "/api/v1/write/json?topic=x"])
def test_a_field_of_a_megabyte_is_a_named_drop(hub: HubProcess, path: str) -> None:
    long = "x" * MB
    body = json.dumps({"text": long, "beside": 1}) if "json" in path else f'row text="{long}",beside=1'
    status, answer = hub.post(path, body.encode())
    assert status in (204, 400)
    assert len(answer) < 2000
    assert any("beside" in name for name in hub.query('{__name__=~".*beside"}'))
    (source,) = [one for one in hub.json("/api/v1/ledger")["sources"] if one["name"].startswith("http:")]
    assert sum(source["rejected"].values()) >= 1
    assert source["received"] == source["stored"] + source["duplicate"] + source["overwritten"] + sum(
        source["rejected"].values()
    )


def test_a_body_with_a_key_is_answered_as_before_over_a_kill(hub: HubProcess) -> None:
    headers, body = {"Idempotency-Key": "a body of mine"}, b"once v=1\nno row"
    first = hub.post("/write", body, headers=headers)
    assert first[0] == 400
    assert hub.post("/write", body, headers=headers) == first
    assert hub.post("/write", b"once v=2", headers=headers)[0] == 422
    assert hub.post("/write", b"once v=2", headers={"Idempotency-Key": "k" * 256})[0] == 400
    hub.kill()
    hub.start()
    assert hub.post("/write", body, headers=headers) == first
    assert list(hub.query("count_over_time(once_v[1h])").values()) == [1]
