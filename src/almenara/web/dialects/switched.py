"""Interfaces of others that are off unless the configuration switches them on: they keep documents of their own, and
a GET of theirs may change something."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from almenara.web.dialects.contract import Dialect, House, Settings
from almenara.web.dialects.dweet import Dweets
from almenara.web.dialects.phant import Phant
from almenara.web.dialects.queue import NamedQueues

#: By the name that `[http] dialects` has for it; the last one may answer at the root.
SWITCHED: Mapping[str, Callable[[House, Settings], Dialect]] = {"dweet": Dweets, "phant": Phant, "queue": NamedQueues}


def switched_on(house: House, settings: Settings) -> list[Dialect]:
    """Those that are on."""
    return [make(house, settings) for name, make in SWITCHED.items() if name in settings.on]
