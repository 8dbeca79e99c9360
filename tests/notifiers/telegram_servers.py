"""Two servers of Telegram's Bot API for tests: one written by others, and one that does what that one cannot.

`Theirs` is telegram-test-api from npm, a process of its own (with sendPhoto added, see tests/node/telegram.js). It
hands every update out once, whatever the offset, and never refuses. `Ours` keeps updates until they are confirmed, and
answers 429, 409 and other errors when it is told to; it counts texts as Telegram does and refuses what is too long.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from email.parser import BytesParser
from pathlib import Path
from threading import Thread
from typing import Any

from almenara.testing.process import free_port, wait_until

TOKEN = "123456:AbC-dEf_hidden"
RIGHT: tuple[int, dict[str, Any]] = (0, {})  # among refusals: not this time
NEVER: tuple[int, dict[str, Any]] = (-1, {})  # the call is heard and never answered
FIRST = 101  # number of the first message that `Ours` takes
LIMITS = {"text": 4096, "caption": 1024}
NODE = Path(__file__).parents[1] / "node"


class Theirs:
    """telegram-test-api, and a person in one of its chats."""

    def __init__(self, port: int):
        self.url = f"http://127.0.0.1:{port}"

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What it answers to a person's client."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())["result"]

    def messages(self, chat: int = 1) -> list[dict[str, Any]]:
        """All that the bot has sent to a chat: what it was told, and `number`."""
        rows = self.post("/getUpdatesHistory", {"token": TOKEN})
        sent = [one for one in rows if "chat_id" in one.get("message", {})]
        return [
            {**one["message"], "number": one["messageId"]}
            for one in sent
            if str(one["message"]["chat_id"]) == str(chat)
        ]

    def says(self, text: str, chat: int = 1, **more: Any) -> None:
        """A person writes."""
        self.post("/sendMessage", self._common(chat) | {"text": text} | more)

    def presses(self, data: str, message: int, chat: int = 1) -> None:
        """A person presses a button below a message."""
        common = self._common(chat)
        of = {"message_id": message, "chat": common["chat"], "date": common["date"]}
        self.post("/sendCallback", {"botToken": TOKEN, "from": common["from"], "message": of, "data": data})

    def _common(self, chat: int) -> dict[str, Any]:
        who = {"id": 77, "first_name": "Anna", "username": "anna", "is_bot": False}
        kind = "private" if chat > 0 else "group"
        return {"botToken": TOKEN, "date": 1_772_420_645, "from": who, "chat": {"id": chat, "type": kind}}


@contextmanager
def theirs() -> Iterator[Theirs]:
    """A process of telegram-test-api."""
    port = free_port()
    process = subprocess.Popen(["node", "telegram.js", str(port)], cwd=NODE, stderr=subprocess.PIPE)
    server = Theirs(port)

    def is_up() -> bool:
        if process.poll() is not None and process.stderr is not None:
            raise AssertionError(f"telegram-test-api ended: {process.stderr.read().decode()}")
        with suppress(OSError):
            return server.post("/getUpdatesHistory", {"token": TOKEN}) is not None
        return False

    try:
        wait_until(is_up, "telegram-test-api to answer")
        yield server
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


class Ours:
    """A Bot API on the test's loop. `refusals`: by method, answers to give before the next right one."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[tuple[str, dict[str, Any]]] = []  # method, fields
        self.refusals: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.waiting: list[dict[str, Any]] = []  # updates nobody has confirmed
        self.offsets: list[int] = []  # that were asked for
        self._links: set[asyncio.Task[None]] = set()
        self._numbers = FIRST - 1
        self._updates = 500

    def sent(self, *methods: str) -> list[dict[str, Any]]:
        """Fields of calls of these methods; without any, of messages and photos."""
        return [fields for method, fields in self.heard if method in (methods or ("sendMessage", "sendPhoto"))]

    def says(self, text: str, chat: int = 1, kind: str = "private", **more: Any) -> int:
        """A person writes; the number of the update."""
        self._numbers += 1
        who = {"id": 77, "first_name": "Anna", "username": "anna"}
        message = {"message_id": self._numbers, "date": 1_772_420_645, "chat": {"id": chat, "type": kind}, "from": who}
        return self._add({"message": message | {"text": text} | more})

    def presses(self, data: str, message: int, chat: int = 1) -> int:
        """A person presses a button below a message."""
        who = {"id": 77, "first_name": "Anna", "username": "anna"}
        of = {"message_id": message, "chat": {"id": chat, "type": "private"}, "date": 1_772_420_645}
        return self._add({"callback_query": {"id": "9", "from": who, "message": of, "data": data}})

    def _add(self, update: dict[str, Any]) -> int:
        self._updates += 1
        self.waiting.append({"update_id": self._updates} | update)
        return self._updates

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Ours]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            try:
                yield self
            finally:
                for link in self._links:
                    link.cancel()
                await asyncio.gather(*self._links, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            with suppress(asyncio.CancelledError):  # the server ends; asyncio would complain of whom nobody awaits
                await self._converse(reader, writer)
        finally:
            self._links.discard(link)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ")[1].decode()
                lines = {k.lower(): v.strip() for k, _, v in (x.partition(b":") for x in head.split(b"\r\n")[1:])}
                body = await reader.readexactly(int(lines[b"content-length"]))
                status, said = await self._answer(path, lines[b"content-type"], body)
                out = json.dumps(said).encode()
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n" % (status, len(out)) + out)
                await writer.drain()

    async def _answer(self, path: str, kind: bytes, body: bytes) -> tuple[int, dict[str, Any]]:
        bot, _, method = path.removeprefix("/").partition("/")
        if bot != f"bot{TOKEN}":
            return 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}
        fields = json.loads(body) if kind == b"application/json" else _multipart(kind, body)
        self.heard.append((method, fields))
        code, more = refusals.pop(0) if (refusals := self.refusals.get(method)) else RIGHT
        if code < 0:
            await asyncio.Event().wait()
        if code:
            return code, {"ok": False, "error_code": code, **more}
        for name, limit in LIMITS.items():
            if len(fields.get(name, "").encode("utf-16-le")) // 2 > limit:
                return 400, {"ok": False, "error_code": 400, "description": f"Bad Request: {name} is too long"}
        return 200, {"ok": True, "result": await self._result(method, fields)}

    async def _result(self, method: str, fields: dict[str, Any]) -> Any:
        if method == "getMe":
            return {"id": 123456, "is_bot": True, "username": "almenara_bot"}
        if method == "getUpdates":
            self.offsets.append(offset := fields.get("offset", 0))
            self.waiting = [one for one in self.waiting if one["update_id"] >= offset]
            return list(self.waiting)
        if method in ("sendMessage", "sendPhoto"):
            self._numbers += 1
            return {"message_id": self._numbers}
        return True


@contextmanager
def ours() -> Iterator[Ours]:
    """`Ours` in a thread, for tests of processes."""
    server, loop, done = Ours(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with server.serving():
            await done.wait()

    thread = Thread(target=lambda: loop.run_until_complete(serve()), name="bot api")
    thread.start()
    try:
        wait_until(lambda: server.url, "the server to listen")
        yield server
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def _multipart(kind: bytes, body: bytes) -> dict[str, Any]:
    """Fields of a form; those that are JSON as what they say, files as bytes."""
    found: dict[str, Any] = {}
    for part in BytesParser().parsebytes(b"content-type: " + kind + b"\r\n\r\n" + body).get_payload():
        name, value = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)  # type: ignore[union-attr]
        text = value if part.get_filename() else value.decode()  # type: ignore[union-attr]
        found[name] = json.loads(text) if isinstance(text, str) and text[:1] in "[{" and name != "caption" else text  # type: ignore[index]
    return found
