"""Asks a dead man's URL now and then, only while all is well: who listens there raises the alarm when it stays away."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx

from almenara.model.errors import ConfigError, Problem

log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0


class Ping:
    """GETs a URL every so many seconds unless something is wrong; as healthchecks.io and others want it.

    troubles: what is wrong now, in words; called in a thread. count: told "sent", "failed" or "withheld" each time.
    ca_file: PEM file of the authority that signed the certificate; empty: those of the system.
    """

    def __init__(
        self, url: str, every_s: float, troubles: Callable[[], Sequence[str]], count: Callable[[str], None],
        ca_file: str = "",
    ):  # fmt: skip
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError([Problem("watch.ping_url", "must begin with http:// or https:// and a host")])
        self._url, self._every_s, self._troubles, self._count = url, every_s, troubles, count
        self._where = parts.hostname  # all else of the URL may be its secret
        self._verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._said = ""

    async def run(self) -> None:
        """Until cancelled."""
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, verify=self._verify) as client:
            while True:
                await self._once(client)
                await asyncio.sleep(self._every_s)

    async def _once(self, client: httpx.AsyncClient) -> None:
        if troubles := await asyncio.to_thread(self._troubles):
            self._count("withheld")
            self._say(f"{self._where} is not pinged: {'; '.join(troubles)}")
            return
        try:
            async with client.stream("GET", self._url) as answer:  # what it says is not read
                failed = "" if answer.is_success else f"answered {answer.status_code}"
        except httpx.HTTPError as error:
            failed = type(error).__name__  # its text may hold the URL
        self._count("failed" if failed else "sent")
        self._say(f"the ping of {self._where} failed: {failed}" if failed else "")

    def _say(self, what: str) -> None:
        """Each trouble once, and that it is over."""
        if what and what != self._said:
            log.warning("%s", what)
        elif self._said and not what:
            log.info("%s is pinged again", self._where)
        self._said = what
