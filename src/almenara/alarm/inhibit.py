"""Inhibition: an alarm is held back while another one fires that explains it, as Alertmanager's inhibit_rules do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from almenara.alarm.tables import Key
from almenara.query import Matcher, match_all

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alarm that fits `source` fires, those that fit `target` and have the same `equal` labels are held back.

    A label that both lack is the same in both. An alarm that fits both sides is not held back by another such.
    """

    name: str
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()

    def same(self, labels: Labels) -> tuple[str, ...]:
        """The values that source and target must share."""
        return tuple(labels.get(name, "") for name in self.equal)


def words_of(labels: Labels) -> str:
    """What people call an alarm: its rule, and the name of its series where it has one."""
    series = labels.get("__name__", "")
    return labels["alertname"] + (f" of {series}" if series else "")


class Inhibitor:
    """The firing alarms that hold others back, found without looking at all of them."""

    def __init__(self, inhibitions: Sequence[Inhibition] = ()):
        self._inhibitions = tuple(inhibitions)
        # For each inhibition, by the shared values: its sources; True where one is a target too.
        self._sources: list[dict[tuple[str, ...], dict[Key, bool]]] = [{} for _ in inhibitions]
        self._labels: dict[Key, Labels] = {}

    def put(self, key: Key, labels: Labels | None) -> tuple[Key, Labels | None]:
        """This alarm fires with these labels; None: it does not. Gives what to put to take it back."""
        before = self._labels.pop(key, None)
        if before is not None:
            for one, sources in zip(self._inhibitions, self._sources, strict=True):
                same = one.same(before)
                if sources.get(same, {}).pop(key, None) is not None and not sources[same]:
                    del sources[same]
        if labels is not None and self._add(key, labels):
            self._labels[key] = labels
        return key, before

    def _add(self, key: Key, labels: Labels) -> bool:
        is_source = False
        for one, sources in zip(self._inhibitions, self._sources, strict=True):
            if match_all(one.source, labels):
                sources.setdefault(one.same(labels), {})[key] = match_all(one.target, labels)
                is_source = True
        return is_source

    def by(self, key: Key, labels: Labels) -> tuple[Inhibition, Labels] | None:
        """What holds this alarm back, and the labels of the alarm that does; None: nothing."""
        for one, sources in zip(self._inhibitions, self._sources, strict=True):
            found = sources.get(one.same(labels))
            if not found or not match_all(one.target, labels):
                continue
            both = match_all(one.source, labels)
            by = next(
                (source for source, is_target in found.items() if source != key and not (both and is_target)), None
            )
            if by is not None:
                return one, self._labels[by]
        return None

    def reason_of(self, key: Key, labels: Labels) -> str | None:
        """Why this alarm is held back; None: it is not."""
        found = self.by(key, labels)
        return f"inhibited by {words_of(found[1])} (inhibit.{found[0].name})" if found else None
