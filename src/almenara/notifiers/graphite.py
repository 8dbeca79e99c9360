"""Writes the state, severity and score of alarms into Graphite, as lines of its plaintext protocol.

Protocol: https://graphite.readthedocs.io/en/latest/feeding-carbon.html: `path value time` and a newline, over TCP.
"""

from __future__ import annotations

import re
from typing import Annotated

from almenara.model.alarm import Alarm, Incident, Notice
from almenara.model.errors import ConfigError, Problem
from almenara.model.time import NS
from almenara.model.topic import slug
from almenara.notifiers._connect import connected, host_and_port, send_all
from almenara.notifiers._plain import STATE_NUMBER, has_ended, incidents_of, number_of, numbers_of
from almenara.plugin.options import Must, Range

_PREFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_TAG = re.compile(r"[^A-Za-z0-9_.:/-]+")

Address = Annotated[str, Must("HOST or HOST:PORT", lambda text: host_and_port(text, 2003) is not None)]


class GraphiteNotifier:
    """Writes each alarm into Graphite whenever people are told of it, as numbers that graphs and rules can use.

    `state`: 0 none or resolved, 1 pending, 2 firing, 3 no data. `severity`: 0 resolved, 1 warning, 2 minor, 3 major, 4
    critical. `score` and `value`: what was measured then, where there is a number.

    Options:
        server: Where carbon listens for its plaintext protocol.
        prefix: What paths begin with; they go on with the rule, the series, and `state` and so on.
        tags: Write the labels as tags (Graphite 1.1 and later), `PREFIX.severity;rule=...;host=...`, not as a path.
        timeout_s: Longest time for one notice.
    """

    def __init__(
        self,
        *,
        server: Address = "127.0.0.1:2003",
        prefix: str = "almenara.alarm",
        tags: bool = False,
        timeout_s: Annotated[float, Range(0.1, 50)] = 10.0,
    ) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ConfigError([Problem("prefix", f"must be words with dots between them; got {prefix[:60]!r}")])
        self._address = host_and_port(server, 2003) or ("", 0)
        self._prefix, self._tags, self._timeout_s = prefix, tags, timeout_s
        self._what = f"Graphite at {server}"

    async def notify(self, notice: Notice) -> None:
        """Write all its alarms; returns when carbon has read them. A test writes nothing, and neither is the graph
        sent. Raises NotifyError, worth another try."""
        lines = self.lines(notice)
        async with connected(*self._address, self._what, self._timeout_s) as (reader, writer):
            await send_all(reader, writer, "".join(lines).encode())

    async def check(self) -> None:
        """Does something listen there? Raises NotifyError."""
        async with connected(*self._address, self._what, self._timeout_s):
            pass

    def lines(self, notice: Notice) -> list[str]:
        """A line a number."""
        return [
            f"{self._path(member, name)} {number:.10g} {member.last.time // NS}\n"
            for incident in incidents_of(notice)
            for member in incident.members
            for name, number in numbers(member, incident).items()
        ]

    def _path(self, alarm: Alarm, name: str) -> str:
        series = alarm.last.series
        if not self._tags:
            return f"{self._prefix}.{slug(alarm.last.rule)}.{slug(str(series), series.key)}.{name}"
        labels = {**dict(series.labels), **alarm.last.labels, "rule": alarm.last.rule, "series": series.name}
        plain = {_TAG.sub("_", tag): _TAG.sub("_", text) for tag, text in labels.items() if tag != "name"}
        return ";".join([f"{self._prefix}.{name}", *(f"{tag}={plain[tag]}" for tag in sorted(plain) if plain[tag])])


def numbers(alarm: Alarm, incident: Incident) -> dict[str, float]:
    """state, severity, and score and value where they are numbers."""
    ended, found = has_ended(alarm, incident), numbers_of(alarm.last.evidence)
    state = 0 if ended else STATE_NUMBER[alarm.last.state]
    measured = {name: number for name in ("score", "value") if (number := found[name]) is not None}
    return {"state": state, "severity": number_of(alarm, incident), **measured}
