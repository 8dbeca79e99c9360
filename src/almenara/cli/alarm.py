"""`almenara alarm`: look at incidents of a hub, take them on, silence alarms, split and join; as tables or as JSON."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from almenara.cli.ledger import ask
from almenara.cli.terminal import is_terminal, show_json, show_rows
from almenara.model.errors import AlmenaraError
from almenara.model.text import one_line

_NUMBER = re.compile(r"#?\d{1,15}", re.ASCII)
#: Letters of the id of a silence that tell it from others.
_LEAST_ID = 4


@dataclass(frozen=True, slots=True)
class Desk:
    """Which hub is asked, by whom, and how it is answered. Every call raises AlmenaraError."""

    url: str
    token: str
    as_json: bool = False
    who: str = ""

    def get(self, path: str, **query: str) -> Any:
        """What a path answers."""
        return ask(self.url, self.token, path + (f"?{urlencode(query)}" if query else ""), "almenara alarm")

    def order(self, method: str, path: str, **body: Any) -> Any:
        """What an order answers; it says who gives it."""
        who = self.who or _user()
        if method == "DELETE":
            path += f"?{urlencode({'who': who})}"
            return ask(self.url, self.token, path, "almenara alarm", method)
        return ask(self.url, self.token, path, "almenara alarm", method, json={"who": who, **body})

    def list(self, *, all_of_them: bool, limit: int) -> None:
        """Incidents: those that are open, or the latest ones."""
        query = {"members": "4", "limit": str(limit)} | ({} if all_of_them else {"open": "true"})
        found = self.get("/api/v1/incidents", **query)
        if self.as_json:
            show_json(found)
        else:
            heads = ["#", "severity", "since", "alarms", "what", "taken on by" if not all_of_them else "stands"]
            show_rows(heads, [_incident_cells(one) for one in found], right=(0, 3))

    def show(self, number: str) -> None:
        """One incident: its alarms, and what became of it."""
        found = self._incident(number)
        if self.as_json:
            show_json(found)
            return
        show_rows(["#", "severity", "since", "alarms", "what", "stands"], [_incident_cells(found)], right=(0, 3))
        print()
        show_rows(["state", "severity", "alarm", "why it is one"], [_member_cells(found, at) for at in _order(found)])
        print()
        show_rows(["when", "who", "what"], _story(found))

    def acknowledge(self, number: str, note: str, length: str) -> None:
        """Take an incident on."""
        given = {"note": note} | ({"duration": length} if length else {})
        one = self.order("POST", f"{_path(number)}/acknowledge", **given)
        until = one["acknowledgement"]["until_ms"]
        ends = f"until {_local(until)}" if until else "until it is resolved"
        self._said(one, f"incident {one['id']}: taken on by {one['acknowledgement']['who']} {ends}")

    def unacknowledge(self, number: str) -> None:
        """Give it back."""
        one = self.order("POST", f"{_path(number)}/unacknowledge")
        self._said(one, f"incident {one['id']}: nobody has taken it on; repeats and escalation go on")

    def split(self, number: str, series: Sequence[str]) -> None:
        """Take alarms, named by their series, out of an incident into one of their own."""
        members = self._incident(number)["members"]
        known = {(one["rule"], one["series"]): one for one in members}
        wanted = [key for key in known if key[1] in series]
        if lost := [name for name in series if name not in {key[1] for key in wanted}]:
            names = ", ".join(sorted({key[1] for key in known})[:5])
            raise AlmenaraError(f"incident {number} has no alarm of {lost[0]}; there are: {names}")
        alarms = [{"rule": rule, "series": name} for rule, name in wanted]
        one = self.order("POST", f"{_path(number)}/split", alarms=alarms)
        self._said(one, f"incident {one['id']}: made of {len(alarms)} of the alarms of incident {number.lstrip('#')}")

    def join(self, number: str, other: str) -> None:
        """Put the alarms of another incident into one."""
        one = self.order("POST", f"{_path(number)}/join", incident=int(_number(other)))
        self._said(one, f"incident {one['id']}: has {one['size']} alarms now; incident {_number(other)} is part of it")

    def silences(self, *, all_of_them: bool) -> None:
        """Silences and maintenance windows: those that hold or will hold, or all."""
        found = [one for one in self.get("/api/v1/silences") if all_of_them or one["stage"] != "expired"]
        if self.as_json:
            show_json(found)
        else:
            rows = [_silence_cells(one) for one in sorted(found, key=lambda one: (_STAGES[one["stage"]], one["id"]))]
            show_rows(["id", "stage", "of", "until", "who", "comment"], rows)

    def silence(self, what: str, length: str, comment: str, starts: str) -> None:
        """Tell nobody of alarms: of an incident, by its number, or of a selector."""
        match = what
        if _NUMBER.fullmatch(what):
            match = self._incident(what)["match"]
            if match is None:
                raise AlmenaraError(
                    f"the alarms of incident {_number(what)} have no label in common; silence them by a selector, such "
                    "as '{site=\"madrid\"}'"
                )
        given = {"match": match, "duration": length, "comment": comment} | ({"starts": starts} if starts else {})
        one = self.order("POST", "/api/v1/silences", **given)
        held = self.get("/api/v1/silences/preview", **{"match[]": one["match"]})
        begins = "" if one["stage"] == "active" else f" from {_local(one['starts_ms'])}"
        told = f"silenced{begins} until {_local(one['ends_ms'])}: {one['match']} ({one['id']})"
        self._said(one, f"{told}\nit holds back {_count(held['open_count'], 'open alarm')}")

    def unsilence(self, id: str) -> None:
        """End a silence, by its id or the first letters of it."""
        alive = [one for one in self.get("/api/v1/silences") if one["stage"] != "expired"]
        found = [one for one in alive if len(id) >= _LEAST_ID and one["id"].startswith(id.lower())]
        if len(found) != 1:
            which = "several begin so" if found else "`almenara alarm silences` lists them"
            raise AlmenaraError(f"no single silence has the id {one_line(id, 60)!r}: {which}")
        one = self.order("DELETE", f"/api/v1/silence/{quote(found[0]['id'])}")
        self._said(one, f"ended: {one['match']}")

    def _incident(self, number: str) -> Any:
        return self.get(_path(number))

    def _said(self, answer: Any, words: str) -> None:
        if self.as_json:
            show_json(answer)
        else:
            print(words)


_STAGES = {"active": 0, "pending": 1, "expired": 2}
_WORDS = {"pending": "planned"}


def _user() -> str:
    """Who gives orders where --who does not say: the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return os.environ.get("USER", "")


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise AlmenaraError(f"expected the number of an incident, such as 7; got {one_line(text, 60)!r}")
    return text.lstrip("#")


def _path(number: str) -> str:
    return f"/api/v1/incidents/{_number(number)}"


def _incident_cells(one: Mapping[str, Any]) -> list[str]:
    members = one["members"]
    at = one["strongest"] if one["strongest"] is not None else 0
    what = _what(members[at]) if members else ""
    taken = one["acknowledgement"]
    stands = taken["who"] if taken else ""
    if one["state"] == "resolved":
        stands = f"resolved {_local(one['resolved_ms'])}"
    return [str(one["id"]), one["severity"], _local(one["since_ms"]), str(one["size"]), what, stands]


def _what(alarm: Mapping[str, Any]) -> str:
    said = alarm["why"] or alarm["annotations"].get("summary", "")
    return ": ".join(part for part in (alarm["series"] or alarm["rule"], one_line(said, 120)) if part)


def _order(one: Mapping[str, Any]) -> list[int]:
    """Places of the members, the strongest and the likely first before the others."""
    foremost = [at for at in (one["strongest"], one["first"]) if at is not None]
    return list(dict.fromkeys([*foremost, *range(len(one["members"]))]))


def _member_cells(one: Mapping[str, Any], at: int) -> list[str]:
    alarm = one["members"][at]
    marks = ["likely the first"] * (at == one["first"] and one["size"] > 1)
    marks += ["the strongest"] * (at == one["strongest"] and one["size"] > 1)
    why = "; ".join(part for part in (*marks, alarm["reason"]) if part)
    return [alarm["state"], alarm["severity"], f"{alarm['rule']} {alarm['series']}", why]


def _story(one: Mapping[str, Any]) -> list[list[str]]:
    """What became of it, oldest first: changes of alarms and lines."""
    told = [(change["time_ms"], "", f"{change['state']}: {_what(change)}") for change in one["changes"]]
    told += [(line["time_ms"], line["who"], f"{line['kind']}: {line['text']}") for line in one["lines"]]
    told += [
        (message["queued_ms"], message["notifier"], f"waiting: {message['kind']} {message['error']}".strip())
        for message in one["messages"]
        if message["outcome"] == "waiting"
    ]
    return [[_local(at), who, text] for at, who, text in sorted(told, key=lambda row: row[0])]


def _silence_cells(one: Mapping[str, Any]) -> list[str]:
    ends = one["until_ms"] or one["ends_ms"]
    comment = "; ".join(part for part in (one["comment"], ", ".join(one["windows"])) if part)
    id = one["id"] if not is_terminal() else (one["maintenance"] or one["id"][:8])
    stage = _WORDS.get(one["stage"], one["stage"])
    return [id, stage, one["match"], _local(ends) if ends else "for ever", one["who"], comment]


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _local(ms: int) -> str:
    moment = datetime.fromtimestamp(ms / 1000).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S") if is_terminal() else moment.isoformat(timespec="milliseconds")
