"""Quoted strings in line protocol by rule: labels, states or events. Such lines are written anew, and read as others.

Only lines that have a string are looked at here, one by one, so a payload without any costs one search.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from almenara.codecs._influx_memo import BadKey, field_name, parse_key
from almenara.model.batch import Event
from almenara.model.series import MAX_KEY_BYTES, Metadata, encode_key, label_name, metric_name

#: A text that becomes a label, or an event, is cut to so many characters.
MAX_LABEL, MAX_EVENT = 1000, 65_536

_KEY = re.compile(rb"(?:\\[ ,=]|[^ \n])++ ++")
_FIELD = re.compile(rb'((?:\\[ ,=]|[^ ,=\n])++)=("(?:\\["\\]|[^"])*+"|[^ ,\n"][^ ,\n]*+)')
_TAIL = re.compile(rb" *+(-?[0-9]{1,19})? *+\r?(?=\n|\Z)")
_ESCAPE = re.compile(r'\\(["\\])')
_LARGEST = 2**63 - 1
_STATE = Metadata("", "state")
_MAX_RULES = 100_000


class Strings:
    """The rules, and what they make of payloads."""

    def __init__(self, labels: Sequence[str], states: Sequence[str], events: Sequence[str]):
        self._rules = [(pattern, kind) for kind, them in zip("lse", (labels, states, events), strict=True)
                       for pattern in them]  # fmt: skip
        self._kinds: dict[bytes, str] = {}

    def taken(self, payload: bytes, scale: int, received_ns: int) -> Taken:
        """A payload without the strings that a rule is for, and what became of them."""
        found = Taken(received_ns, scale)
        at = 0
        while (quote := payload.find(b'="', at)) >= 0:
            start = payload.rfind(b"\n", at, quote) + 1 or at
            found.parts.append(payload[at:start])
            at = self._line(payload, start, found)
        found.parts.append(payload[at:])
        return found

    def _line(self, payload: bytes, start: int, found: Taken) -> int:
        """Write the line at `start` anew; where the next one begins. One that cannot be read stays as it is."""
        key = _KEY.match(payload, start)
        fields: list[tuple[bytes, bytes]] = []
        at = key.end() if key is not None else start
        more = key is not None
        while more and (field := _FIELD.match(payload, at)):
            fields.append((field[1], field[2]))
            at = field.end()
            more = payload[at : at + 1] == b","
            at += more
        tail = _TAIL.match(payload, at) if not more else None
        if key is not None and tail is not None and payload[start : start + 1] != b"#":
            wanted = [self._kind(name) if value[:1] == b'"' else "" for name, value in fields]
            if any(wanted) and found.put(key[0], fields, wanted, tail[1]):
                found.parts.append(b"\n" * payload.count(b"\n", start, at))  # so that lines keep their numbers
                return tail.end()
        # Past the strings of this line: what stands in them is no line of its own.
        at = max(at, payload.find(b'="', start) + 2)
        end = payload.find(b"\n", at)
        end = len(payload) if end < 0 else end
        found.parts.append(payload[start:end])
        return end

    def _kind(self, name: bytes) -> str:
        """l, s, e, or nothing for a field without a rule."""
        kind = self._kinds.get(name)
        if kind is None:
            try:
                text = field_name(name)
            except UnicodeDecodeError:
                text = ""
            kind = next((kind for pattern, kind in self._rules if fnmatchcase(text, pattern)), "")
            if len(self._kinds) < _MAX_RULES:
                self._kinds[name] = kind
        return kind


class Taken:
    """What became of one payload: `parts` of the new one, events, and what is known of states."""

    def __init__(self, received_ns: int, scale: int):
        self.parts: list[bytes] = []
        self.extra: list[bytes] = []
        self.events: list[Event] = []
        self.metadata: dict[bytes, Metadata] = {}
        self._received_ns, self._scale = received_ns, scale

    @property
    def payload(self) -> bytes:
        """The new payload; lines of states stand at its end."""
        return b"".join([*self.parts, *self.extra])

    def put(
        self, key: bytes, fields: Sequence[tuple[bytes, bytes]], kinds: Sequence[str], written: bytes | None
    ) -> bool:
        """Take a line in; False where it has to stay as it is."""
        time = self._received_ns if written is None else int(written) * self._scale
        try:
            measurement, labels = parse_key(key.rstrip(b" "))
            texts = [_text(value).decode() if kind else "" for (_, value), kind in zip(fields, kinds, strict=True)]
        except (BadKey, UnicodeDecodeError):
            return False
        kept = [field for field, kind, text in zip(fields, kinds, texts, strict=True) if not kind or not text]
        head, tail = key.rstrip(b" "), b" " + written if written is not None else b""
        if abs(time) > _LARGEST or len(key) > MAX_KEY_BYTES:
            return False
        for (name, _), kind, text in zip(fields, kinds, texts, strict=True):
            if kind == "l" and text:
                if len(kept) == 0:
                    return False  # a label without a number: the reader says so
                head += b"," + name + b"=" + _tag(text)
        for (name, _), kind, text in zip(fields, kinds, texts, strict=True):
            if kind == "e" and text:
                told = {**labels, "event": f"{measurement}_{field_name(name)}"}
                self.events.append(Event(time, tuple(sorted(told.items())), text[:MAX_EVENT]))
            elif kind == "s" and text:
                self._state(measurement, labels, name, text)
                self.extra.append(
                    b"\n" + key.rstrip(b" ") + b"," + name + b"=" + _tag(text) + b" " + name + b"=1" + tail
                )
        if kept:
            self.parts.append(head + b" " + b",".join(name + b"=" + value for name, value in kept) + tail)
        return True

    def _state(self, measurement: str, labels: dict[str, str], name: bytes, text: str) -> None:
        field = field_name(name)
        series = metric_name(measurement if field == "value" else f"{measurement}_{field}")
        shown = _tag(text).decode()  # as the reader will read it
        for escape in ("\\,", "\\ ", "\\="):
            shown = shown.replace(escape, escape[1])
        self.metadata[encode_key(series, {**labels, label_name(field): shown})] = _STATE


def _text(value: bytes) -> bytes:
    """What stands between the quotes."""
    return _ESCAPE.sub(r"\1", value[1:-1].decode()).encode()


def _tag(text: str) -> bytes:
    """A text as the value of a tag, which has no newline, and no backslash at its end."""
    text = text[:MAX_LABEL].replace("\r", "\\r").replace("\n", "\\n").rstrip("\\")
    return text.replace(",", "\\,").replace(" ", "\\ ").replace("=", "\\=").encode()
