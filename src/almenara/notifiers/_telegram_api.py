"""Telegram's Bot API over HTTPS: one call at a time, at the pace that Telegram allows, the token in no text.

Source: core.telegram.org/bots/api; core.telegram.org/bots/faq (limits: a message a second to a chat, 20 a minute to a
group, 30 a second to all).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from almenara.model.errors import ConfigError, NotifyError, Problem

#: Telegram's limits: seconds between messages to one chat, to all; messages a minute to one group.
CHAT_S, ALL_S, GROUP_A_MINUTE = 1.0, 1 / 30, 20
#: What has to wait for its turn longer than this is tried again later.
MOST_WAIT_S = 30.0
#: How long Telegram keeps a question for updates open while there are none.
POLL_S = 25
_MAX_ANSWER = 8 << 20
_TIMES_KEPT = 1000


class Pace:
    """Whose turn it is: when the next message may go to a chat."""

    def __init__(self) -> None:
        self._sent: dict[int, deque[float]] = {}
        self._chat: dict[int, float] = {}  # nothing to this chat before
        self._all = 0.0

    async def turn(self, chat: int) -> None:
        """Wait until a message may go to this chat. Raises NotifyError where that takes too long."""
        now = time.monotonic()
        sent = self._sent.setdefault(chat, deque(maxlen=GROUP_A_MINUTE))
        at = max(now, self._all, self._chat.get(chat, 0.0))
        if chat < 0 and len(sent) == GROUP_A_MINUTE:  # the ids of groups are negative
            at = max(at, sent[0] + 60)
        if at - now > MOST_WAIT_S:
            wait = at - now
            raise NotifyError(f"Telegram takes nothing for this chat for {wait:.0f} s", retry=True, retry_after_s=wait)
        sent.append(at)
        self._all, self._chat[chat] = at + ALL_S, at + CHAT_S
        self._forget(now)
        await asyncio.sleep(at - now)

    def hold(self, chat: int, wait_s: float) -> None:
        """Telegram wants nothing for this chat for so long."""
        self._chat[chat] = max(self._chat.get(chat, 0.0), time.monotonic() + wait_s)

    def _forget(self, now: float) -> None:
        if len(self._chat) > _TIMES_KEPT:
            self._chat = {chat: at for chat, at in self._chat.items() if at > now}
            self._sent = {chat: sent for chat, sent in self._sent.items() if sent[-1] > now - 60}


class ApiError(NotifyError):
    """What Telegram answered where it did not do it. code: as in HTTP; 0 where nothing came back. moved: the id that
    a group has got since."""

    def __init__(self, text: str, *, code: int = 0, retry: bool, retry_after_s: float = 0.0, moved: int = 0):
        self.code, self.moved = code, moved
        super().__init__(text, retry=retry, retry_after_s=retry_after_s)


class _WithToken(httpx.AsyncBaseTransport):
    """Puts the token into the path below everything that logs a URL or names one in an error."""

    def __init__(self, inner: httpx.AsyncBaseTransport, path: str):
        self._inner, self._path = inner, path

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(raw_path=self._path.encode() + request.url.raw_path)
        sent = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        return await self._inner.handle_async_request(sent)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Api:
    """The calls of one bot. Raises ConfigError for an address or a token that cannot be."""

    def __init__(self, token: str, address: str, *, proxy: str = "", ca_file: str = "", timeout_s: float = 10.0):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise ConfigError([Problem("api", "must begin with http:// or https:// and a host")])
        bot, _, secret = token.partition(":")
        if not bot or not secret or not all(part.isascii() and part.replace("_", "").replace("-", "").isalnum()
                                            for part in (bot, secret)):  # fmt: skip
            raise ConfigError([Problem("token", "must be as BotFather tells it, such as 123456:ABC-DEF")])
        self.bot = bot  # the number of the bot, which is no secret
        self.host = parts.netloc
        self._path = f"{parts.path.rstrip('/')}/bot{token}"
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._proxy, self._ca_file, self._timeout_s = proxy, ca_file, timeout_s
        self._client: httpx.AsyncClient | None = None
        self.pace = Pace()

    async def send(self, method: str, chat: int, fields: Mapping[str, Any], png: bytes | None = None) -> int:
        """Send a message to a chat when it is its turn; the number of the message. Raises NotifyError."""
        await self.pace.turn(chat)
        fields = {"chat_id": chat, **fields}
        try:
            sent = await self.call(method, fields, png)
        except ApiError as error:
            if error.code == 429:
                self.pace.hold(chat, error.retry_after_s)
            raise
        number = sent.get("message_id") if isinstance(sent, dict) else None
        if not isinstance(number, int):
            raise ApiError(f"Telegram at {self.host}: {method} gave no message", retry=False)
        return number

    async def call(self, method: str, fields: Mapping[str, Any], png: bytes | None = None, more_s: float = 0.0) -> Any:
        """What a method gives. more_s: it may take so much longer than usual. Raises ApiError."""
        if png is None:
            body: dict[str, Any] = {"content": json.dumps(fields).encode(), "headers": _JSON}
        else:
            texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
            body = {"data": texts, "files": {"photo": ("graph.png", png, "image/png")}}
        timeout = httpx.Timeout(self._timeout_s, read=self._timeout_s + more_s)
        try:
            async with self._connected().stream("POST", f"/{method}", timeout=timeout, **body) as answer:
                read = await _read(answer)
        except httpx.HTTPError as error:
            raise ApiError(f"Telegram at {self.host}: {type(error).__name__}", retry=True) from error
        return self._result(method, answer.status_code, read)

    def _result(self, method: str, status: int, body: bytes) -> Any:
        try:
            told = json.loads(body)
            if told["ok"] is True:
                return told.get("result")
        except (ValueError, KeyError, TypeError):
            again = status >= 500 or status in (408, 429)
            raise ApiError(f"Telegram at {self.host}: {method} answered {status}", code=status, retry=again) from None
        code, more = told.get("error_code", status), told.get("parameters") or {}
        wait, moved = more.get("retry_after", 0), more.get("migrate_to_chat_id", 0)
        raise ApiError(
            f"Telegram at {self.host}: {method}: {code} {str(told.get('description', ''))[:200]}",
            code=code if isinstance(code, int) else status, retry=code in (408, 409, 429) or status >= 500,
            retry_after_s=float(wait) if isinstance(wait, int | float) else 0.0,
            moved=moved if isinstance(moved, int) else 0,
        )  # fmt: skip

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            verify = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
            inner = httpx.AsyncHTTPTransport(verify=verify, proxy=self._proxy or None)
            self._client = httpx.AsyncClient(
                base_url=self._base, follow_redirects=False, transport=_WithToken(inner, self._path)
            )
        return self._client

    async def close(self) -> None:
        """Close connections that were kept open."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


_JSON = {"content-type": "application/json"}


async def _read(answer: httpx.Response) -> bytes:
    """The body; of more than MAX_ANSWER nothing can be meant for us."""
    parts, size = [], 0
    async for part in answer.aiter_bytes():
        size += len(part)
        if size > _MAX_ANSWER:
            return b""
        parts.append(part)
    return b"".join(parts)
