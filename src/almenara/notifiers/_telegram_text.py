"""A notice as Telegram shows it: plain text with ranges that are bold, which needs no escaping; cut to its limits.

Telegram counts in units of UTF-16. Source: core.telegram.org/bots/api#messageentity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from almenara.model.alarm import Notice, NoticeKind, Severity, State

#: Longest text of a message and of a photo's caption, in UTF-16 units.
MESSAGE, CAPTION = 4096, 1024
#: Longest label of a button that is offered; a longer one would be cut by every phone.
LONGEST_CHOICE = 120

_MARKS = {Severity.WARNING: "🟡", Severity.MINOR: "🟠", Severity.MAJOR: "🔴", Severity.CRITICAL: "🟣"}
_OF_KIND = {NoticeKind.TEST: "🔔", NoticeKind.DIGEST: "🗞"}


@dataclass(frozen=True, slots=True)
class Text:
    """What is shown, and where it is bold: (offset, length) in UTF-16 units."""

    text: str
    bold: tuple[int, int] = (0, 0)

    def fits(self, limit: int) -> Text | None:
        """Itself where it is short enough."""
        return self if units(self.text) <= limit else None

    def fields(self, name: str = "text") -> dict[str, Any]:
        """As `sendMessage` wants it, or with the name `caption`, as `sendPhoto`."""
        found: dict[str, Any] = {name: self.text}
        if self.bold[1]:
            entity = {"type": "bold", "offset": self.bold[0], "length": self.bold[1]}
            found["caption_entities" if name == "caption" else "entities"] = [entity]
        return found


def units(text: str) -> int:
    """The length of a text as Telegram counts it."""
    return len(text) + sum(ch > "\uffff" for ch in text)


def clean(text: str) -> str:
    """The text without what no JSON in UTF-8 can carry: halves of surrogate pairs become U+FFFD."""
    return text.encode("utf-8", "replace").decode() if any("\ud800" <= ch <= "\udfff" for ch in text) else text


def told(notice: Notice, limit: int = MESSAGE) -> Text | None:
    """The notice within a limit; None where not even its first lines fit whole into a caption."""
    mark = _OF_KIND.get(notice.kind, _MARKS[notice.incident.severity])
    if notice.incident.state is State.RESOLVED and notice.kind not in _OF_KIND:
        mark = "✅"
    title = clean(notice.title or f"Incident {notice.incident.id}")
    lines = [clean(f"{fact.name}: {fact.text}" if fact.text else fact.name) for fact in notice.facts]
    whole = "\n".join([f"{mark} {title}", *lines, *([notice.link] if notice.link else [])])
    if units(whole) > limit:
        if limit < MESSAGE:
            return None
        whole = cut([f"{mark} {title}", *lines], limit, clean(notice.link))
    start = units(mark) + 1
    return Text(whole, (start, min(units(title), units(whole) - start)))


def cut(lines: Sequence[str], limit: int = MESSAGE, last: str = "") -> str:
    """As many lines as fit, how many more there are, and the last line."""
    whole = "\n".join([*lines, *([last] if last else [])])
    if units(whole) <= limit:
        return whole
    room = limit - (units(last) + 1 if last else 0) - units(f"\n... and {len(lines)} more lines")
    kept: list[str] = []
    for line in lines:
        if units(line) + 1 > room:
            break
        kept.append(line)
        room -= units(line) + 1
    if not kept:  # one line as long as a book
        kept, room = [_first_units(lines[0], room - 4) + "..."], 0
    left = len(lines) - len(kept)
    more = [f"... and {left} more line{'s' if left > 1 else ''}"] if left else []
    return "\n".join([*kept, *more, *([last] if last else [])])


def _first_units(text: str, limit: int) -> str:
    """The longest beginning that is not longer; no character is halved."""
    while units(text) > limit:
        text = text[: len(text) - max(1, (units(text) - limit) // 2)]
    return text


def buttons(incident: int, verbs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """An inline keyboard: (label, what it asks) each; two in a row. Without any, what takes buttons away."""
    keys = [{"text": label, "callback_data": asks.format(incident)} for label, asks in verbs]
    return {"inline_keyboard": [keys[i : i + 2] for i in range(0, len(keys), 2)]}


def keyboard(choices: Sequence[str]) -> dict[str, Any]:
    """A keyboard under the input line whose keys type these; a slash lets a bot in a group hear them."""
    rows = [[{"text": "/" + choice}] for choice in map(clean, choices) if units(choice) <= LONGEST_CHOICE]
    if len(rows) > 2 and all(units(row[0]["text"]) <= 12 for row in rows):
        rows = [[key for row in rows[i : i + 3] for key in row] for i in range(0, len(rows), 3)]
    return {"keyboard": rows, "resize_keyboard": True, "one_time_keyboard": True, "selective": True}
