"""Where an MQTT broker is: an address such as `mqtts://broker.example:8883`, checked."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from almenara.model.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, from `mqtt://host:1883` or `mqtts://host:8883`."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises ConfigError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError([Problem("url", f"cannot be read: {error}", _EXAMPLE)]) from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ConfigError(
                [Problem("url", f"must begin with mqtt:// or mqtts:// and a host; got {parts.scheme!r}", _EXAMPLE)]
            )
        if parts.username or parts.password or parts.path.strip("/") or parts.query:
            raise ConfigError(
                [Problem("url", "has more than scheme, host and port", "give username and password as options")]
            )
        tls = parts.scheme == "mqtts"
        return cls(parts.hostname, port or (8883 if tls else 1883), tls)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_EXAMPLE = "for example mqtt://127.0.0.1:1883"
