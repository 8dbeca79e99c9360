"""`Matcher`: one condition on a label, such as `host="a"`, as Prometheus' selectors have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from almenara.model.errors import QuerySyntax
from almenara.query.regex import compile_full_match

#: The label that stands for the name of a series.
NAME = "__name__"

OPERATORS = ("=", "!=", "=~", "!~")


@dataclass(frozen=True, slots=True)
class Matcher:
    """`label op value` with op one of = != =~ !~; a label that a series does not have counts as the empty text.

    The name of a series is its label `__name__`. Regular expressions are anchored at both ends, `.` matches every
    character, and matching takes time linear in the text (`almenara.query.regex`). Raises QuerySyntax for an unknown
    operator or a bad pattern, NotSupported for look-around and back-references.
    """

    label: str
    op: str
    value: str
    _test: Callable[[str], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.op not in OPERATORS:
            raise QuerySyntax(f"matcher of {self.label}: found operator {self.op!r}, expected one of = != =~ !~")
        if self.op in ("=", "!="):
            test: Callable[[str], bool] = self.value.__eq__
        else:
            test = compile_full_match(self.value)
        object.__setattr__(self, "_test", test)

    def matches(self, text: str) -> bool:
        """Whether a label with this value fulfils the condition; give "" where the label is missing."""
        return self._test(text) == (self.op in ("=", "=~"))

    def __str__(self) -> str:
        """As in PromQL: `host=~"a.*"`."""
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.op}"{quoted}"'


def match_all(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether labels (the name under `__name__`) fulfil every condition."""
    return all(m.matches(labels.get(m.label, "")) for m in matchers)
