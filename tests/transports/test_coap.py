"""CoAP: what is answered to a POST or PUT, large payloads in blocks, Observe, and limits; with aiocoap as client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiocoap
import cbor2
import pytest
from aiocoap import Code, Message
from tests.transports.links import AtWork, at_work, shoot

from almenara.model.batch import Rejected
from almenara.model.errors import BusError, DecodeError, Overloaded, PluginError, PortTaken
from almenara.plugin.contracts import Outcome
from almenara.transports.coap import Coap

ANY = "127.0.0.1:0"


@contextlib.asynccontextmanager
async def served(outcome: Outcome | None = Outcome(1), **options: Any) -> AsyncIterator[tuple[AtWork, Any]]:
    """A server at work, and a function that asks it: (method, path, payload, content format) -> answer."""
    client = await aiocoap.Context.create_client_context()
    try:
        async with at_work(Coap(listen=ANY, **options), outcome) as work:

            async def ask(code: Code, path: str, payload: bytes = b"", content_format: int | None = None) -> Any:
                uri = f"coap://127.0.0.1:{work.link.port}/{path}"
                message = Message(code=code, uri=uri, payload=payload, content_format=content_format)
                async with asyncio.timeout(60):
                    return await client.request(message).response

            yield work, ask
    finally:
        await client.shutdown()


@pytest.mark.parametrize("method", [Code.POST, Code.PUT])
@pytest.mark.parametrize(
    ("path", "content_format", "codec", "topic", "media"),
    [
        ("rooms/kitchen", 50, "json", "rooms/kitchen", "application/json"),
        ("rooms/kitchen", 110, "senml", "rooms/kitchen", "application/senml+json"),
        ("rooms/kitchen", 112, "senml", "rooms/kitchen", "application/senml+cbor"),
        ("rooms/kitchen", None, "", "rooms/kitchen", ""),
        ("ingest/influx/rooms", 0, "influx", "rooms", "text/plain"),
        ("ingest/graphite/a/b", None, "graphite", "a/b", ""),
    ],
)
def test_path_and_content_format_say_topic_and_codec(
    method: Code, path: str, content_format: int | None, codec: str, topic: str, media: str
) -> None:
    async def run() -> None:
        async with served() as (work, ask):
            answer = await ask(method, path, b"payload", content_format)
            assert answer.code == Code.CHANGED
            (packet,) = work.packets
            found = (packet.codec, packet.topic, packet.content_type, packet.payload, packet.source)
            assert found == (codec, topic, media, b"payload", "coap:127.0.0.1")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (Outcome(error=DecodeError("x: no number")), Code.BAD_REQUEST, "x: no number"),
        (
            Outcome(1, [Rejected("line 2", "bad_line", 1, "why")]),
            Code.BAD_REQUEST,
            "1 rows kept, 1 rejected: line 2: why",
        ),
        (Outcome(error=Overloaded("a queue is full", 7)), Code.SERVICE_UNAVAILABLE, "a queue is full"),
        (None, Code.SERVICE_UNAVAILABLE, "it was not written in time"),
    ],
)
def test_a_client_is_told_why_something_was_not_kept(outcome: Outcome | None, code: Code, said: str) -> None:
    async def run() -> None:
        async with served(outcome, timeout_s=0.2) as (_, ask):
            answer = await ask(Code.POST, "x", b"1")
            assert (answer.code, answer.payload.decode()) == (code, said)
            if code == Code.SERVICE_UNAVAILABLE:
                assert answer.opt.max_age == (7 if outcome else 5)

    asyncio.run(run())


def test_other_content_formats_methods_and_paths_are_refused() -> None:
    async def run() -> None:
        async with served() as (work, ask):
            assert (await ask(Code.POST, "x", b"1", 41)).code == Code.UNSUPPORTED_CONTENT_FORMAT
            assert (await ask(Code.DELETE, "x")).code == Code.METHOD_NOT_ALLOWED
            assert (await ask(Code.GET, "x")).code == Code.NOT_FOUND
            assert not work.packets

    asyncio.run(run())


def test_datagrams_that_are_no_messages_are_counted_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with served() as (work, ask):
            bad_text = b"\x40\x03\x00\x01\xb2\xff\xfe"
            await shoot(work.link.port, bad_text, b"\x40", b"\x4f\x03\x00\x02\xf0", bad_text)
            await work.until(lambda: work.link.dropped["bad_message"] >= 3)
            assert (await ask(Code.GET, "x")).code == Code.NOT_FOUND

    asyncio.run(run())
    assert "Traceback" not in caplog.text


def test_cbor_is_read_as_the_json_that_says_the_same() -> None:
    async def run() -> None:
        async with served() as (work, ask):
            assert (await ask(Code.POST, "x", cbor2.dumps({"temp": 21.5, "on": [True, None]}), 60)).code == Code.CHANGED
            (packet,) = work.packets
            assert (packet.codec, json.loads(packet.payload)) == ("json", {"temp": 21.5, "on": [True, None]})
            # Lists that hold one list ten times over, ten times: few bytes, ten billion values.
            shared = [1]
            for _ in range(10):
                shared = [shared] * 10
            bomb = cbor2.dumps(shared, value_sharing=True)
            assert len(bomb) < 1000
            for bad in (bomb, b"\xff", cbor2.dumps({"a": b"bytes"}), b"\x81" * 5000, b""):
                answer = await ask(Code.POST, "x", bad, 60)
                assert answer.code == Code.BAD_REQUEST
                assert b"CBOR" in answer.payload
            assert len(work.packets) == 1

    asyncio.run(run())


def test_a_large_payload_comes_in_blocks_up_to_a_limit() -> None:
    async def run() -> None:
        async with served(max_payload_bytes=10_000) as (work, ask):
            large = bytes(range(256)) * 39
            assert (await ask(Code.PUT, "x", large)).code == Code.CHANGED
            assert work.payload == large
            assert (await ask(Code.GET, "x")).payload == large
            assert (await ask(Code.PUT, "x", large * 2)).code == Code.REQUEST_ENTITY_TOO_LARGE
            assert len(work.packets) == 1

    asyncio.run(run())


def test_observers_are_told_each_new_payload() -> None:
    async def run() -> None:
        async with served() as (work, ask):
            await ask(Code.PUT, "x", b"1", 50)
            client = await aiocoap.Context.create_client_context()
            uri = f"coap://127.0.0.1:{work.link.port}/x"
            watching = client.request(Message(code=Code.GET, uri=uri, observe=0))
            first = await watching.response
            assert (first.payload, first.opt.content_format) == (b"1", 50)
            seen = watching.observation.__aiter__()
            for value in (b"2", b"3"):
                await ask(Code.PUT, "x", value, 50)
                async with asyncio.timeout(60):
                    assert (await anext(seen)).payload == value
            watching.observation.cancel()
            await client.shutdown()
            core = await ask(Code.GET, ".well-known/core")
            assert core.payload == b"</x>;obs"

    asyncio.run(run())


def test_the_longest_unused_path_is_forgotten_first() -> None:
    async def run() -> None:
        async with served(max_paths=2) as (_, ask):
            for path in ("a", "b", "a", "c"):
                await ask(Code.PUT, path, path.encode())
            codes = [(await ask(Code.GET, path)).code for path in "abc"]
            assert codes == [Code.CONTENT, Code.NOT_FOUND, Code.CONTENT]

    asyncio.run(run())


def test_only_allowed_machines_may_send() -> None:
    async def run() -> None:
        async with served(allow=["10.0.0.0/8"]) as (work, ask):
            assert (await ask(Code.PUT, "x", b"1")).code == Code.FORBIDDEN
            assert work.link.dropped == {"not_allowed": 1}

    asyncio.run(run())


def test_what_is_sent_on_arrives_at_another_server() -> None:
    async def run() -> None:
        async with served() as (there, _):
            here = Coap(to=f"coap://127.0.0.1:{there.link.port}")
            await here.send("rooms/küche 1", b"21.5")
            assert (there.packets[0].topic, there.packets[0].payload) == ("rooms/küche 1", b"21.5")
            there.outcome = Outcome(error=DecodeError("no number"))
            with pytest.raises(BusError, match=r"4\.00.*no number"):
                await here.send("x", b"?")
            await here.close()
        with pytest.raises(PluginError, match="to: is missing"):
            await Coap().send("x", b"")

    asyncio.run(run())


def test_a_taken_port_is_named_and_a_closed_one_is_free_again() -> None:
    async def run() -> None:
        async with served() as (work, _):
            port = work.link.port
            with pytest.raises(PortTaken):
                await anext(Coap(listen=f"127.0.0.1:{port}").receive())
        async with at_work(Coap(listen=f"127.0.0.1:{port}")):
            pass

    asyncio.run(run())
