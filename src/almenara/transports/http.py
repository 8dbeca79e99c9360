"""Sends payloads to another system with HTTP POST; for routes. What comes in over HTTP, the hub itself takes."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Sequence
from typing import Literal
from urllib.parse import quote, urlsplit

import httpx

from almenara.model.errors import BusError, ConfigError, Problem, Undeliverable
from almenara.plugin.contracts import Packet
from almenara.plugin.options import Duration, Secret

_AGAIN = (408, 425, 429)


class Http:
    """Sends each payload as the body of a request.

    Options:
        url: Where to, `https://...` or `http://...`; `{topic}` in it is filled in.
        method: POST or PUT.
        content_type: What the body is, such as "text/plain" or "application/x-protobuf".
        encoding: How the body is compressed: "gzip", "snappy" (as Prometheus remote write wants it), or "" not at all.
        headers: More HTTP headers.
        token: Sent as `Authorization: Bearer ...`; empty for none.
        username: User name for basic authentication; empty for none.
        password: The password that goes with it.
        ca_file: PEM file of the authority that signed the server's certificate; empty: those of the system.
        timeout_s: Longest time for one request.
    """

    example = {"url": "http://127.0.0.1:9/write"}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self,
        *,
        url: Secret,
        method: Literal["POST", "PUT"] = "POST",
        content_type: str = "text/plain; charset=utf-8",
        encoding: Literal["", "gzip", "snappy"] = "gzip",
        headers: dict[str, str] | None = None,
        token: Secret = Secret(""),
        username: str = "",
        password: Secret = Secret(""),
        ca_file: str = "",
        timeout_s: Duration = 30.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError([Problem("url", "must begin with http:// or https:// and a host")])
        if token and username:
            raise ConfigError([Problem("token", "does not go with username: a request carries one of them")])
        self._url, self._method, self._encoding = str(url), method, encoding
        self._where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._headers = {"Content-Type": content_type} | ({"Content-Encoding": encoding} if encoding else {})
        self._headers |= dict(headers or {}) | ({"Authorization": f"Bearer {token!s}"} if token else {})
        self._login = (username, str(password)) if username else None
        self._timeout_s, self._ca_file = timeout_s, ca_file
        self._client: httpx.AsyncClient | None = None

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """Nothing, ever: this link only sends."""
        await asyncio.Event().wait()
        yield ()

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returns when the other side has answered 2xx. Raises BusError where another try may help (no answer, 408,
        425, 429, 5xx), Undeliverable for any other answer. A redirect is not followed: it would carry the token away.
        """
        url = self._url.replace("{topic}", quote(topic, safe="/"))
        try:
            body = await asyncio.to_thread(self._compressed, payload)
            answer = await self._connected().request(self._method, url, content=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Not the exception's own text: it may hold the URL, and that its secret part.
            raise BusError(f"{self._where}: {type(error).__name__}") from error
        if answer.is_success:
            return
        said = " ".join(answer.text[:200].split())
        message = f"{self._where}: answered {answer.status_code} {answer.reason_phrase}" + (f": {said}" if said else "")
        if answer.status_code >= 500 or answer.status_code in _AGAIN:
            raise BusError(message)
        raise Undeliverable(message)

    def _compressed(self, payload: bytes) -> bytes:
        if self._encoding == "gzip":
            return gzip.compress(payload, 5)
        if self._encoding == "snappy":
            from cramjam import snappy  # of the extra `hub`

            return bytes(snappy.compress_raw(payload))
        return payload

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            verify = httpx.create_ssl_context(verify=self._ca_file) if self._ca_file else True
            self._client = httpx.AsyncClient(
                timeout=self._timeout_s, follow_redirects=False, verify=verify, headers=self._headers, auth=self._login
            )
        return self._client

    async def close(self) -> None:
        """Close connections that were kept open."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
