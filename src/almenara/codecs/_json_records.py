"""From nested JSON objects to flat records: what of a message is a value, a label, the time, or left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from almenara.model.batch import Rejected
from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS

MAX_DEPTH = 16
MAX_KEYS = 1000  # of one record
_MAX_ROLES = 10_000
_MAX_SHAPES = 1000
_WHOLE = 2.0**63  # numbers nearer to zero are finite and read alike by every reader
_DETAIL = 80

TIME, LABEL, VALUE, DROP, BY_TYPE, STATE, EVENT = range(7)
#: Longest word that may stand for 0 or 1, in ASCII characters.
MAX_WORD = 8
_STRONGER_LAST = (STATE, EVENT, VALUE, LABEL, TIME, DROP)


class Inexact(Exception):
    """A label was a whole number past 64 bits, which a fast reader has rounded; read the payload again, exactly."""


class Refusals:
    """Counts what is left out of one payload: one `Rejected` a reason, which names the first place."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str]] = {}
        self._rows: dict[str, int] = {}
        self.total = 0

    def add(self, reason: str, where: str, detail: str = "", rows: int = 1) -> None:
        """Leave out `rows` rows."""
        self._first.setdefault(reason, (where or "payload", detail))
        self._rows[reason] = self._rows.get(reason, 0) + rows
        self.total += rows

    def listed(self) -> list[Rejected]:
        """What was left out, in the order in which the reasons came up."""
        return [Rejected(w[:_DETAIL], r, self._rows[r], d[:_DETAIL]) for r, (w, d) in self._first.items()]


@dataclass(slots=True)
class Record:
    """Labels, values and the time of one object. time is as sent, None where the object has none."""

    labels: dict[str, str] = field(default_factory=dict)
    values: list[tuple[str, float]] = field(default_factory=list)
    states: dict[int, str] = field(default_factory=dict)  # position in `values` -> the text of a state
    events: list[tuple[str, str]] = field(default_factory=list)  # key, text
    time: Any = None
    time_depth: int = MAX_DEPTH + 1  # a time nearer to the top counts more
    keys: int = 0
    refused: bool = False  # whether anything of it was
    lists: list[tuple[str, list[dict[str, Any]], int]] = field(
        default_factory=list
    )  # of objects: prefix, objects, depth


@dataclass(slots=True)
class Flat:
    """An object without others inside. Objects of one shape have the same series; values and time are as sent."""

    shape: tuple[Any, ...]  # topic, keys, then in their order a text for each label and None for each value
    values: list[float]
    time: Any


class Rules:
    """Which keys mean what. Keys are compared without regard to case, by their last part and by their joined name.

    words: texts, in lower case, that are the numbers they stand for. ignore_texts: other texts are no labels.
    """

    def __init__(self, keys: Mapping[int, Collection[str]], words: Mapping[str, float], ignore_texts: bool = False):
        self._by_key = {key.lower(): role for role in _STRONGER_LAST for key in keys.get(role, ())}
        self.only_listed = bool(keys.get(VALUE))
        self.words = dict(words)
        self.ignore_texts = ignore_texts
        self.exact = False  # whether documents come from a reader that rounds no whole number
        self._roles: dict[tuple[str, str], tuple[int, str]] = {}
        self._role_lists: dict[tuple[str, ...], list[int]] = {}

    def role(self, prefix: str, key: str) -> tuple[int, str]:
        """(what it is, its joined name) of a key inside `prefix`."""
        known = self._roles.get((prefix, key))
        if known is None:
            path = f"{prefix}_{key}" if prefix else key
            by_key = self._by_key
            known = by_key.get(path.lower(), by_key.get(key.lower(), BY_TYPE)), path
            if len(self._roles) < _MAX_ROLES and len(path) < 256:
                self._roles[prefix, key] = known
        return known

    def word(self, text: str) -> float | None:
        """The number that a text stands for, None for most."""
        return self.words.get(text.lower()) if len(text) <= MAX_WORD and text.isascii() else None

    def flat(self, document: dict[str, Any], topic: str) -> Flat | None:
        """The quick way to what `records` gives, for plain objects; None where something in it needs a closer look."""
        keys = tuple(document)
        roles = self._role_lists.get(keys)
        if roles is None:
            if self.only_listed or len(keys) > MAX_LABELS or sum(map(len, keys)) > MAX_KEY_BYTES:
                return None
            roles = [self.role("", key)[0] for key in keys]
            if len(self._role_lists) < _MAX_SHAPES:
                self._role_lists[keys] = roles
        shape: list[Any] = [topic, keys]
        values: list[float] = []
        time = None
        for role, value in zip(roles, document.values(), strict=True):
            kind = type(value)
            if role == BY_TYPE and (kind is float or kind is int or kind is bool):
                if not -_WHOLE < value < _WHOLE:
                    return None
                shape.append(None)
                values.append(value)
            elif kind is str and role == BY_TYPE:
                word = self.word(value)
                shape.append(None if word is not None else "" if self.ignore_texts else value)
                values += [] if word is None else [word]
            elif kind is str and role == LABEL:
                shape.append(value)
            elif role == LABEL and kind is int:
                shape.append(repr(value))
            elif role == TIME and time is None and (kind is int or kind is float or kind is str):
                time = value
            else:
                return None
        return Flat(tuple(shape), values, time) if values else None

    def records(self, document: dict[str, Any], where: str, refusals: Refusals) -> Iterator[Record]:
        """The record of an object and those of the lists of objects in it, which inherit its labels and time."""
        yield from self._records(document, "", 0, None, where, refusals)

    def _records(
        self, document: dict[str, Any], prefix: str, depth: int, parent: Record | None, where: str, refusals: Refusals
    ) -> Iterator[Record]:
        record = Record() if parent is None else Record(dict(parent.labels), time=parent.time)
        if not self._walked(document, prefix, depth, record, where, refusals):
            return
        if record.values or record.events:
            yield record
        elif not record.lists and not record.refused:
            refusals.add("no_value", where, "found no number and no boolean")
        for inner, objects, level in record.lists:
            for one in objects:
                yield from self._records(one, inner, level, record, where, refusals)

    def record(self, document: dict[str, Any], where: str, refusals: Refusals) -> Record | None:
        """The record of an object that may have no value; None where it is past a limit."""
        record = Record()
        return record if self._walked(document, "", 0, record, where, refusals) else None

    def _walked(
        self, document: dict[str, Any], prefix: str, depth: int, record: Record, where: str, refusals: Refusals
    ) -> bool:
        """Fill a record; whether it is within the limits."""
        self._walk(document, prefix, depth, record, where, refusals)
        rows = max(len(record.values), 1)
        if record.keys > MAX_KEYS:
            refusals.add("too_many_keys", where, f"found {record.keys} keys, expected at most {MAX_KEYS}")
        elif len(record.labels) > MAX_LABELS:
            refusals.add("too_many_labels", where, f"found {len(record.labels)}, expected at most {MAX_LABELS}", rows)
        elif sum(map(len, record.labels.values())) > MAX_KEY_BYTES:
            longest = max(record.labels, key=lambda label: len(record.labels[label]))
            refusals.add("key_too_long", at(where, longest), rows=rows)
        else:
            return True
        return False

    def _walk(
        self, document: dict[str, Any], prefix: str, depth: int, record: Record, where: str, refusals: Refusals
    ) -> None:
        record.keys += len(document)
        if record.keys > MAX_KEYS:
            return
        for key, value in document.items():
            role, path = self.role(prefix, key)
            if role == DROP:
                continue
            kind = type(value)
            if kind is dict:
                if depth < MAX_DEPTH:
                    self._walk(value, path, depth + 1, record, where, refusals)
                else:
                    record.refused = True
                    refusals.add("too_deep", at(where, path), f"expected at most {MAX_DEPTH} levels")
            elif kind is list:
                self._list(value, path, depth, record, where, refusals)
            elif role == TIME:
                if value is not None and depth < record.time_depth:
                    record.time, record.time_depth = value, depth
            elif value is None:
                record.refused = True
                refusals.add("null", at(where, path))
            elif role == LABEL:
                record.labels[path] = value if kind is str else self._label(value)
            elif kind is str and role != VALUE:
                self._text(value, role, path, record)
            elif role == VALUE or not self.only_listed:
                self._value(value, path, record, where, refusals)

    def _text(self, value: str, role: int, path: str, record: Record) -> None:
        if role == STATE:
            record.states[len(record.values)] = value
            record.values.append((path, 1.0))
        elif role == EVENT:
            record.events.append((path, value))
        elif (word := self.word(value)) is None:
            if not self.ignore_texts:
                record.labels[path] = value
        elif not self.only_listed:
            record.values.append((path, word))

    def _label(self, value: Any) -> str:
        if type(value) is float and abs(value) >= 1 << 63 and not self.exact:
            raise Inexact
        return str(value).lower() if type(value) is bool else repr(value)

    def _list(self, value: list[Any], path: str, depth: int, record: Record, where: str, refusals: Refusals) -> None:
        if depth < MAX_DEPTH and all(type(one) is dict for one in value):
            record.lists.append((path, value, depth + 1))
        else:
            record.refused = True
            refusals.add("list", at(where, path), "expected a number, or a list of objects")

    def _value(self, value: Any, path: str, record: Record, where: str, refusals: Refusals) -> None:
        word = self.word(value) if type(value) is str else None
        try:
            number = float(value) if word is None else word
        except OverflowError:
            number = float("inf")
        except ValueError:
            record.refused = True
            refusals.add("not_a_number", at(where, path), f"found {value!r}")
            return
        if number - number == 0.0:
            record.values.append((path, number))
        else:
            record.refused = True
            refusals.add("not_finite", at(where, path), f"found {value!r}" if type(value) is float else "")


def at(where: str, path: str) -> str:
    """A key of a record, for a person."""
    return f"{where}, key {path}" if where else f"key {path}"
