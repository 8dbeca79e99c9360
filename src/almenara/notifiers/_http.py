"""How notifiers post over HTTP: what an answer means for another try, and that nothing secret is told of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.logs import keep_urls_out

#: A receiver may ask to be left alone for so long at most.
LONGEST_RETRY_AFTER_S = 3600.0
#: So much of an answer is read where its text is wanted.
_MOST_TEXT = 2000
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Poster:
    """Posts to one address; keeps its connections open until closed.

    url: begins with http:// or https://; it may hold a login and secrets, which no error repeats. Raises ConfigError.
    """

    def __init__(
        self, url: str, *, what: str, timeout_s: float, headers: Mapping[str, str] | None = None, ca_file: str = "",
        option: str = "url",
    ) -> None:  # fmt: skip
        self._url, self.where = str(url), f"{what} {place_of(url, option)}"
        self._timeout_s, self._ca_file = timeout_s, ca_file
        self._headers = dict(headers or {})
        check_headers(self._headers)
        self._client: httpx.AsyncClient | None = None

    async def post(self, body: bytes, headers: Mapping[str, str], *, path: str = "", tell: bool = False) -> None:
        """Returns once it was answered with 2xx.

        Raises NotifyError: worth another try after a time-out, a lost connection, 408, 429 and 5xx; not after any other
        answer. A redirect is not followed: it would carry what is secret to another place. tell: the error says what
        the receiver answered.
        """
        try:
            async with asyncio.timeout(self._timeout_s):  # httpx's own limit is for each read: a drip keeps it waiting
                url = self._url.rstrip("/") + path if path else self._url
                async with self._connected().stream("POST", url, content=body, headers=dict(headers)) as answer:
                    text = await _beginning(answer) if tell and not answer.is_success else ""
        except TimeoutError as error:
            raise NotifyError(f"{self.where}: no answer within {self._timeout_s:g} s", retry=True) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Not the exception's own text: it may hold the URL, and that its secret part.
            raise NotifyError(f"{self.where}: {type(error).__name__}", retry=True) from None
        if not answer.is_success:
            raise self._refused(answer, text)

    def _refused(self, answer: httpx.Response, text: str) -> NotifyError:
        status = answer.status_code
        said = f"{self.where}: answered {status} {answer.reason_phrase[:60]}" + (f": {text}" if text else "")
        return NotifyError(
            said, retry=status >= 500 or status in (408, 429),
            retry_after_s=retry_after_s(answer.headers.get("retry-after", ""), time.time()),
        )  # fmt: skip

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            keep_urls_out()
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


async def _beginning(answer: httpx.Response) -> str:
    read = b""
    async for part in answer.aiter_bytes():
        read += part
        if len(read) > _MOST_TEXT:
            break
    return " ".join("".join(c if c.isprintable() else " " for c in read[:_MOST_TEXT].decode(errors="replace")).split())


def place_of(url: str, option: str = "url") -> str:
    """Scheme, host and port of an address: what may be shown of it. Raises ConfigError where it is none of HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError([Problem(option, "is no address: its host or port cannot be read")]) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise ConfigError([Problem(option, "must begin with http:// or https:// and a host")])
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise ConfigError where a header could end early and begin another."""
    wrong = [name for name, text in headers.items() if not _HEADER_NAME.fullmatch(name) or not is_header(text)]
    if wrong:
        raise ConfigError([Problem(f"headers.{n}", "holds characters that no header may have") for n in wrong])


def is_header(text: str) -> bool:
    """May this text stand in a header?"""
    return text.isascii() and all(c.isprintable() or c == "\t" for c in text)


def retry_after_s(header: str, now_s: float) -> float:
    """Seconds that a `Retry-After` header asks for, 0 where it says nothing that can be read (RFC 9110, 10.2.3)."""
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        wanted = float(text)
    else:
        try:
            wanted = parsedate_to_datetime(text).timestamp() - now_s
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(0.0, wanted), LONGEST_RETRY_AFTER_S)
