"""`Incidents`: decides which incident an alarm belongs to when it fires.

In this order of trust: its series has an open alarm there already; the labels of `group_by` are equal; their anomalies
began together before; their residuals move together. Where too little is known to say that two do *not* belong
together: they are of one host, or of one rule and fire within a minute. And a burst of one rule, of alarms that
nothing else holds together. All others are incidents of their own.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from almenara.alarm import incidents
from almenara.alarm.folding import LEADERS, MOST_COMPARED, Grouping, History, Leader, Link, Links
from almenara.alarm.incidents import Fold, Member, Open, Token, worse
from almenara.alarm.tables import Key
from almenara.model.alarm import Severity, State, Transition, labels_of
from almenara.model.time import MINUTE_NS

#: Of alarms of which too little is known, those of one rule that fire within this time of the first are one incident.
TOGETHER_NS = MINUTE_NS
#: So many alarms of one rule within a minute that nothing else holds together are a burst, where by the rule's usual
#: rate at most one in a hundred of them would be there.
BURST, BURST_CHANCE = 20, 0.01
#: Alarms that fire are compared with so many members of incidents that are open: some tenths of a second.
MOST_LEADERS = 1000
#: Labels that name a machine; the first one that an alarm has counts.
HOST_LABELS = ("host", "hostname", "instance", "node", "machine", "server", "device")


class Incidents:
    """The open incidents, in memory as in the database; for the flush thread."""

    def __init__(
        self, grouping: Grouping | None = None, history: History | None = None,
        usual: Callable[[str, int], float] = lambda rule, before_ns: 0.0,
    ):  # fmt: skip
        """history: what was measured; None: nothing is. usual: how many alarms of a rule fire in a minute, from what
        was before a time."""
        self.grouping, self._history, self._usual = grouping or Grouping(), history, usual
        self.open: dict[int, Open] = {}
        self.of: dict[Key, int] = {}  # incident of each alarm that is open
        self.next_id = 1
        self._at: dict[Token, list[int]] = {}  # incidents in which alarms that are alike were
        self._rules: set[str] = set()  # of alarms that were in one

    def load(self, connection: sqlite3.Connection) -> None:
        """Take up what a former run left."""
        query = "SELECT id, rule, since, opened, severity FROM incident WHERE state = 'firing' ORDER BY id"
        for id, rule, since, opened, severity in connection.execute(query):
            self.open[id] = Open(id, rule, since, opened, Severity(severity), latest=opened)
        for rule, series, id in connection.execute("SELECT rule, series, incident FROM alarm_state WHERE incident > 0"):
            self.of[rule, series] = id
            self.open[id].alarms.add((rule, series))
        for id, change, lag_ns in incidents.joined(connection):
            self._settle(self.open[id], change, lag_ns, self._at)
            self._rules.add(change.rule)
        self.next_id = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM incident").fetchone()[0]

    def fold(self, changes: Sequence[tuple[int, Transition]]) -> Fold:
        """What these (number, change) mean, in their order."""
        fold = Fold(self.next_id)
        links = self._links([change for _, change in changes])
        for number, change in changes:
            key = (change.rule, change.series.key)
            id, reason, lag_ns = fold.of.get(key, self.of.get(key, 0)), "", 0
            if not id and change.state is State.FIRING:
                id, reason, lag_ns = self._join(fold, links, key, change)
            if id:
                fold.members.append(Member(id, key, number, number, reason, lag_ns))
                fold.of[key] = id
                self._update(fold, id, key, change)
        return fold

    def touch(self, fold: Fold, id: int) -> Open:
        """An open incident, to be changed by `fold`."""
        if id not in fold.touched:
            fold.touched[id] = self.open[id].copy()
        return fold.touched[id]

    def begin(self, fold: Fold, change: Transition) -> Open:
        """A new incident, with no alarm yet."""
        id, fold.next_id = fold.next_id, fold.next_id + 1
        fold.opened.add(id)
        fold.touched[id] = Open(id, change.rule, change.since, change.time, change.severity, latest=change.time)
        return fold.touched[id]

    def add(self, fold: Fold, incident: Open, change: Transition, lag_ns: int = 0) -> None:
        """Have an alarm that is open be in an incident from now on."""
        key = (change.rule, change.series.key)
        incident.alarms.add(key)
        incident.since = min(incident.since, change.since)
        fold.fired.setdefault(incident.id, []).append(change)
        fold.joined[key[1]] = incident.id
        fold.rules.add(key[0])
        self._settle(incident, change, lag_ns, fold.at)

    def settle_anew(self, fold: Fold, incident: Open, members: Iterable[tuple[Transition, int]]) -> None:
        """Have an incident be found by these members alone: (the change with which each came in, its lag)."""
        incident.latest, incident.leaders = incident.opened, ()
        for ids in fold.at.values():
            ids[:] = [id for id in ids if id != incident.id]
        for change, lag_ns in members:
            self._settle(incident, change, lag_ns, fold.at)
        fold.anew.add(incident.id)

    def take_over(self, fold: Fold) -> None:
        """It is written: it is so from now on."""
        self.next_id = fold.next_id
        for id, incident in fold.touched.items():
            if id in fold.resolved or id in fold.merged:
                self.open.pop(id, None)
            else:
                self.open[id] = incident
        for key, id in fold.of.items():
            if id:
                self.of[key] = id
            else:
                self.of.pop(key, None)
        self._rules |= fold.rules
        if fold.anew:
            for token, ids in self._at.items():
                self._at[token] = [id for id in ids if id not in fold.anew]
        for token, ids in fold.at.items():
            self._at[token] = [id for id in dict.fromkeys((*self._at.get(token, ()), *ids)) if id in self.open]
        if not self.open:
            self._at.clear()

    # --- where an alarm belongs

    def _join(self, fold: Fold, links: Links, key: Key, change: Transition) -> tuple[int, str, int]:
        """(incident, why, by how much it follows) of an alarm that fires."""
        found = next(self._places(fold, links, key, change), None)
        incident, reason, lag_ns = found or (self.begin(fold, change), "", 0)
        incident = self.touch(fold, incident.id)
        self.add(fold, incident, change, lag_ns)
        return incident.id, reason, lag_ns

    def _places(self, fold: Fold, links: Links, key: Key, change: Transition) -> Iterator[tuple[Open, str, int]]:
        """Incidents that an alarm may join, the one to be trusted most first."""
        window_ns, tokens = self.grouping.window_ns, self._tokens(change)
        for one in self._had(fold, ("series", "", key[1])):
            for rule in sorted(self._rules | fold.rules):
                if (rule, key[1]) in one.alarms:
                    yield one, f"the same series as the alarm of {rule}", 0
        yield from ((one, "it was in it before", 0) for one in self._had(fold, ("series", "", key[1]))
                    if one.is_near(change.time, window_ns))  # fmt: skip
        if "group" in tokens:
            same = ", ".join(f'{name}="{labels_of(change).get(name, "")}"' for name in self.grouping.group_by)
            yield from ((one, f"the same {same}", 0) for one in self._had(fold, tokens["group"])
                        if one.is_near(change.time, window_ns))  # fmt: skip
        if (link := links.of.get(key[1])) is not None:
            linked = self._still(fold, link.incident or fold.joined.get(link.root, 0))
            if linked is not None and linked.is_near(change.time, window_ns):
                yield linked, link.reason, link.lag_ns
        yield from self._where_little_is_known(fold, links, key, change, tokens)

    def _where_little_is_known(
        self, fold: Fold, links: Links, key: Key, change: Transition, tokens: Mapping[str, Token]
    ) -> Iterator[tuple[Open, str, int]]:
        def is_known(one: Open) -> bool:
            return key[1] in links.known and one.leaders[0].series in links.known

        if "host" in tokens:
            _, label, host = tokens["host"]
            for one in self._had(fold, tokens["host"]):
                if one.is_near(change.time, self.grouping.window_ns) and not is_known(one):
                    yield one, f'the same {label} "{host!s}"; nothing is measured yet', 0
        for one in self._had(fold, tokens["rule"]):
            if abs(change.time - one.opened) < TOGETHER_NS and not is_known(one):
                yield one, "the same rule within a minute; nothing is measured yet", 0

    def _had(self, fold: Fold, token: Token) -> Iterator[Open]:
        """Open incidents in which alarms like this were, the newest first."""
        for id in sorted({*self._at.get(token, ()), *fold.at.get(token, ())}, reverse=True):
            if (one := self._still(fold, id)) is not None:
                yield one

    def _still(self, fold: Fold, id: int) -> Open | None:
        """An incident, if it is open."""
        if id in fold.resolved or id in fold.merged:
            return None
        return fold.touched.get(id) or self.open.get(id)

    def _tokens(self, change: Transition) -> dict[str, Token]:
        labels, by = labels_of(change), self.grouping.group_by
        found: dict[str, Token] = {
            "series": ("series", "", change.series.key),
            "rule": ("rule", "", change.rule),
        }
        if any(name in labels for name in by):
            found["group"] = ("group", "", "\n".join(labels.get(name, "") for name in by))
        host = next((name for name in HOST_LABELS if name in labels), "")
        return found | ({"host": ("host", host, labels[host])} if host else {})

    def _settle(self, incident: Open, change: Transition, lag_ns: int, at: dict[Token, list[int]]) -> None:
        """Remember what an alarm in an incident is found by."""
        for token in self._tokens(change).values():
            ids = at.setdefault(token, [])
            if not ids or ids[-1] != incident.id:
                ids.append(incident.id)
        incident.latest = max(incident.latest, change.time)
        series = change.series.key
        if len(incident.leaders) < LEADERS and all(one.series != series for one in incident.leaders):
            incident.leaders += (Leader(series, incident.id, lag_ns),)

    def _update(self, fold: Fold, id: int, key: Key, change: Transition) -> None:
        incident = self.touch(fold, id)
        incident.severity = worse(incident.severity, change.severity)
        if change.state is State.RESOLVED:
            incident.alarms.discard(key)
            fold.of[key] = 0
            if not incident.alarms:
                fold.resolved[id] = change.time

    # --- what is measured

    def _links(self, changes: Iterable[Transition]) -> Links:
        """What was measured of those that fire and are in no incident."""
        fired = [c for c in changes if c.state is State.FIRING and not self.of.get((c.rule, c.series.key))]
        if not fired:
            return Links()
        leaders = self._leaders(fired)
        if self._history is None or (len(fired) == 1 and not leaders):
            return Links()
        links = self._history.links(fired, leaders)
        links.of |= self._bursts(fired, links)
        return links

    def _leaders(self, fired: Sequence[Transition]) -> list[Leader]:
        """Members of open incidents that those may belong to, of the newest first."""
        times, window_ns = [change.time for change in fired], self.grouping.window_ns
        earliest, latest = min(times) - window_ns, max(times) + window_ns
        near = [
            one.leaders for one in self.open.values() if earliest <= one.latest <= latest or
            earliest <= one.opened <= latest
        ]  # fmt: skip
        most = min(MOST_LEADERS, max(LEADERS, MOST_COMPARED // len(fired)))
        return [leader for leaders in reversed(near) for leader in leaders][:most]

    def _bursts(self, fired: Sequence[Transition], links: Links) -> dict[bytes, Link]:
        """Those that nothing holds together but that so many are of one rule."""
        roots = {link.root for link in links.of.values()}
        alone: dict[tuple[str, int], dict[bytes, Transition]] = defaultdict(dict)
        for change in fired:
            if (series := change.series.key) in links.known and series not in links.of and series not in roots:
                alone[change.rule, change.time // MINUTE_NS].setdefault(series, change)
        found: dict[bytes, Link] = {}
        for (rule, minute), burst in alone.items():
            if len(burst) < BURST:
                continue
            usual = self._usual(rule, minute * MINUTE_NS)
            if usual <= BURST_CHANCE * len(burst):
                said = f"one of {len(burst)} alarms of this rule within a minute, where {usual:.2g} are usual"
                root = next(iter(burst))
                found |= {series: Link(0, root, said, 0) for series in burst if series != root}
        return found
