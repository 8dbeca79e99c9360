"""Every error this package raises on purpose.

    AlmenaraError
    ├── ConfigError        mistakes in options or a config file, all of them at once
    ├── PluginError        a plugin is unknown, or breaks its contract
    │   └── MissingExtra   what was asked for needs a package that is not installed
    ├── FolderError        the data folder is owned by another hub, too new, or damaged
    ├── DecodeError        nothing in a payload can be read
    ├── QueryError         a query cannot be answered
    │   ├── QuerySyntax    it does not parse
    │   ├── NotSupported   it parses, and this version does not do it
    │   └── QueryTooLarge  it would read or return more than the stated limit
    ├── StoreError         the store cannot read or write
    ├── BusError           a message broker cannot be started or reached
    │   └── PortTaken      somebody else listens on the port
    ├── Refused            the hub does not take a write now; try again later
    │   ├── Overloaded     a queue is full
    │   ├── DiskFull       free disk is below the floor, or there is none
    │   └── LogUnwritable  the disk under the hub's log refuses
    ├── KeyReused          an idempotency key names another body already
    ├── IncidentError      an incident cannot be split or joined as it was asked
    └── NotifyError        a notification did not arrive; `retry` says whether trying again may help

Every message says where, what was found and what was expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AlmenaraError(Exception):
    """Base of all errors raised on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is, what is wrong in the user's words, and what to do."""

    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(AlmenaraError):
    """Options are wrong. `problems` has every mistake, so that a user mends them in one go."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(AlmenaraError):
    """A plugin is unknown, or breaks its contract."""


class MissingExtra(PluginError):
    """What was asked for needs packages of an extra that is not installed."""

    def __init__(self, what: str, extra: str):
        self.extra = extra
        super().__init__(f"{what} needs packages that are not installed: pip install 'almenara[{extra}]'")


class FolderError(AlmenaraError):
    """The data folder is owned by another hub, made by a newer version, or damaged."""


class DecodeError(AlmenaraError):
    """Nothing in a payload can be read."""


class QueryError(AlmenaraError):
    """A query cannot be answered."""


class QuerySyntax(QueryError):
    """A query does not parse."""


class NotSupported(QueryError):
    """A query parses, and this version does not do what it asks."""


class QueryTooLarge(QueryError):
    """A query would read or return more than the stated limit."""


class StoreError(AlmenaraError):
    """The store cannot read or write."""


class BusError(AlmenaraError):
    """A message broker, or another system at the end of a link, cannot be started or reached."""


class Undeliverable(BusError):
    """The other side will never take this payload; sending it again is of no use."""


class PortTaken(BusError):
    """Somebody else listens on the port."""

    def __init__(self, host: str, port: int):
        self.host, self.port = host, port
        super().__init__(f"{host}:{port}: another program listens there; stop it, or choose another port")


class Refused(AlmenaraError):
    """The hub does not take a write now. Nothing of it was kept; send it again after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float = 1.0):
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Overloaded(Refused):
    """A queue is full."""


class DiskFull(Refused):
    """Free disk is below the floor that the config states, or there is none."""


class LogUnwritable(Refused):
    """The hub's log cannot be written, for another reason than a full disk."""


class KeyReused(AlmenaraError):
    """A body came with an idempotency key that names another body already."""


class SilenceError(AlmenaraError):
    """A silence cannot be made or changed as it was asked."""


class NoSuchSilence(SilenceError):
    """No silence has this id."""


class IncidentError(AlmenaraError):
    """An incident cannot be split or joined as it was asked."""


class NotifyError(AlmenaraError):
    """A notification did not arrive. retry_after_s: the receiver asks not to be tried earlier; 0 = it does not say."""

    def __init__(self, message: str, *, retry: bool, retry_after_s: float = 0.0):
        self.retry, self.retry_after_s = retry, retry_after_s
        super().__init__(message)
