"""What a detector said of a row, in words: the sentence that alarms, messages and the dashboard show to a person."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from almenara.model.alarm import Evidence

_DIGITS = 4
_MOST_DIGITS = 12  # where fewer show a value and the limit that it passed as the same number


@dataclass(frozen=True, slots=True)
class Causes:
    """What `Verdict.cause` of a hub points into: the causes of all its detectors, one list after the other."""

    words: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()  # whose words they are
    only: str = ""  # the one detector, where there is but one

    @classmethod
    def of(cls, detectors: Iterable[tuple[str, Sequence[str]]]) -> Causes:
        """From (name of a detector, its causes), in the order in which the hub has them."""
        given = list(detectors)
        words = tuple(word for _, causes in given for word in causes)
        return cls(words, tuple(n for n, causes in given for _ in causes), given[0][0] if len(given) == 1 else "")

    def first(self, detector: str) -> int:
        """The index of the first cause of a detector; 0 for one without causes."""
        return self.detectors.index(detector) if detector in self.detectors else 0

    def evidence(
        self, value: float, score: float, yhat: float, lower: float, upper: float, cause: int, detector: str = ""
    ) -> Evidence:
        """A judged row as evidence. cause: an index, -1 none; then `detector`, or the only one, is who said it."""
        known = 0 <= cause < len(self.words)
        name = self.detectors[cause] if known else detector or self.only
        said = why(value, score, lower, upper, self.words[cause] if known else "")
        return Evidence(value, score, yhat, lower, upper, name, said)


def why(value: float, score: float, lower: float, upper: float, cause: str = "") -> str:
    """One sentence for a person: "Fell suddenly: 3.2, expected 5 to 15". cause: words that can begin it.

    Everything before the last colon is the cause. The band is left out where it is not known and where the value lies
    inside it, as it does where the cause is another one. score: says what stands there without a cause.
    """
    if math.isnan(value):
        return "No value"
    outside = value < lower or value > upper  # never with NaN
    begin = cause or _usual(value, score, upper, outside)
    sentence = f"{begin[0].upper()}{begin[1:]}: "
    if not outside:
        return sentence + figure(value)
    passed = upper if value > upper else lower
    digits = next((n for n in range(_DIGITS, _MOST_DIGITS) if figure(value, n) != figure(passed, n)), _MOST_DIGITS)
    return f"{sentence}{figure(value, digits)}, expected {figure(lower, digits)} to {figure(upper, digits)}"


def _usual(value: float, score: float, upper: float, outside: bool) -> str:
    if outside:
        return "higher than usual" if value > upper else "lower than usual"
    if math.isnan(score):
        return "not learned yet"
    return "unusual" if score >= 1 else "as usual"


def figure(value: float, digits: int = _DIGITS) -> str:
    """A number as people write it: so many significant digits, no exponent up to 15 places: 6,143,000,000."""
    text = f"{value:.{digits}g}"
    return f"{float(text):,.0f}" if "e+" in text and abs(value) < 1e15 else text
