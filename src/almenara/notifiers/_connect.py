"""One short TCP or TLS connection: send something, hear whether the other side hung up in anger."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from almenara.model.errors import NotifyError

#: What a receiver that answers nothing may take to close its side once we have closed ours.
_FAREWELL_S = 2.0


@contextlib.asynccontextmanager
async def connected(
    host: str, port: int, what: str, timeout_s: float, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection for the time of the block, which has `timeout_s` in all. Raises NotifyError, worth another
    try: also a wrong certificate may be mended."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            yield reader, writer
    except TimeoutError as error:
        raise NotifyError(f"{what}: no answer within {timeout_s:g} s", retry=True) from error
    except asyncio.IncompleteReadError as error:
        raise NotifyError(f"{what}: hung up after {len(error.partial)} bytes", retry=True) from error
    except OSError as error:  # TLS errors are among them
        raise NotifyError(f"{what}: {error.strerror or error}", retry=True) from error
    finally:
        if writer is not None:
            writer.transport.abort()


async def send_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, payload: bytes) -> None:
    """Send, say that this was all, and wait until the other side has read it and hangs up. Protocols without an answer
    tell in this way alone that they were heard. Raises OSError where the connection was reset."""
    writer.write(payload)
    await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                while await reader.read(4096):
                    pass
    else:  # TLS has no half-closed connections
        writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await writer.wait_closed()


def host_and_port(text: str, default: int) -> tuple[str, int] | None:
    """`host`, `host:port` or `[address]:port`; None where it is none of them."""
    host, bracket, rest = text.rpartition("]")
    if bracket:
        name, port = host.removeprefix("["), rest.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    number = port or str(default)
    fits = number.isascii() and number.isdigit() and 0 < int(number) < 65536
    return (name, int(number)) if name and name.isprintable() and " " not in name and fits else None
