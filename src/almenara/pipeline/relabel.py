"""Other names and labels for series that leave the hub, in the steps of Prometheus' `relabel_config`.

Source: prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config. A step looks at a series once;
its rows then follow by number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from almenara.model.errors import ConfigError, Problem
from almenara.model.series import Series, encode_key, label_name, metric_name

Action = Literal["replace", "keep", "drop", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"]

#: Under this label a step sees the name of the series.
NAME = "__name__"
_GROUP = re.compile(r"\$(?:(\d+)|\{(\w+)\})")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step over the labels of a series; `__name__` is its name.

    Options:
        source_labels: Labels whose values are looked at, joined by `separator`.
        separator: What stands between them.
        regex: What the joined values (labelmap, labeldrop, labelkeep: each label's name) must match as a whole.
        target_label: The label that is set.
        replacement: What it is set to; `$1` is the first group of regex.
        action: replace, keep, drop, labelmap, labeldrop, labelkeep, lowercase or uppercase.
    """

    source_labels: list[str] = field(default_factory=list)
    separator: str = ";"
    regex: str = "(.*)"
    target_label: str = ""
    replacement: str = "$1"
    action: Action = "replace"

    def __post_init__(self) -> None:
        try:
            pattern = re.compile(self.regex)
            pattern_groups = pattern.groups
        except re.error as error:
            raise ConfigError([Problem("regex", f"is no regular expression: {error}")]) from error
        if self.action in ("replace", "lowercase", "uppercase") and not self.target_label:
            raise ConfigError([Problem("target_label", f"is missing; {self.action} sets it")])
        replaces = self.action in ("replace", "labelmap")
        for number, name in _GROUP.findall(self.replacement) if replaces else ():
            known = int(number) <= pattern_groups if number else name.isdigit() or name in pattern.groupindex
            if not known:
                raise ConfigError([Problem("replacement", f"names group ${number or name}, which regex does not have")])
        object.__setattr__(self, "_pattern", pattern)

    def apply(self, labels: dict[str, str]) -> bool:
        """Change the labels; False where the series is to be left out."""
        pattern: re.Pattern[str] = self._pattern  # type: ignore[attr-defined]
        if self.action in ("labeldrop", "labelkeep"):
            for name in [n for n in labels if (pattern.fullmatch(n) is None) == (self.action == "labelkeep")]:
                if name != NAME:
                    del labels[name]
            return True
        if self.action == "labelmap":
            found = [(match, value) for name, value in labels.items() if (match := pattern.fullmatch(name))]
            labels.update((self._expand(match), value) for match, value in found)
            return True
        joined = self.separator.join(labels.get(name, "") for name in self.source_labels)
        if self.action in ("lowercase", "uppercase"):
            labels[self.target_label] = joined.lower() if self.action == "lowercase" else joined.upper()
            return True
        match = pattern.fullmatch(joined)
        if self.action == "replace":
            if match is not None:
                labels[self.target_label] = self._expand(match)
            return True
        return (match is not None) == (self.action == "keep")

    def _expand(self, match: re.Match[str]) -> str:
        def group(found: re.Match[str]) -> str:
            which = found[1] or found[2]
            return match[int(which) if which.isdigit() else which] or ""

        return _GROUP.sub(group, self.replacement)


@dataclass(frozen=True, slots=True)
class Relabeling:
    """All that happens to a series on its way out: names, added labels, then the steps in their order."""

    rename: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    steps: Sequence[Step] = ()

    def apply(self, series: Series) -> Series | None:
        """What the series is called outside; None where it is left out."""
        labels = {NAME: self.rename.get(series.name, series.name), **dict(series.labels), **self.labels}
        for step in self.steps:
            if not step.apply(labels):
                return None
        name = labels.pop(NAME, "")
        if not name:
            return None
        pairs = {label_name(k): v for k, v in labels.items()}
        return Series.from_key(encode_key(metric_name(name), pairs))
