"""What a detector said of a row, in words: the sentence that alarms, messages and the dashboard show to a person."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from almenara.model.alarm import Evidence

_DIGITS = 4
_MOST_DIGITS = 12  # where fewer show a value and the limit that it passed as the same number
#: Words of causes behind which it is said which time that is.
_SEASON = "this time of day and week"


@dataclass(frozen=True, slots=True)
class Causes:
    """What `Verdict.cause` of a hub points into: the causes of all its detectors, one list after the other."""

    words: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()  # whose words they are
    only: str = ""  # the one detector, where there is but one
    when: Callable[[int], str] | None = None  # a time in ns in words, as the site's clocks and calendars have it

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
        self, value: float, score: float, yhat: float, lower: float, upper: float, cause: int, detector: str = "",
        *, time: int | None = None, nth: int = 0, note: str = "",
    ) -> Evidence:  # fmt: skip
        """A judged row as evidence. cause: an index, -1 none; then `detector`, or the only one, is who said it. time,
        nth, note: as for `sentence`."""
        name = self.detectors[cause] if 0 <= cause < len(self.words) else detector or self.only
        said = self.sentence(value, score, yhat, lower, upper, cause, time=time, nth=nth, note=note)
        return Evidence(value, score, yhat, lower, upper, name, said)

    def sentence(
        self, value: float, score: float, yhat: float, lower: float, upper: float, cause: int, *,
        time: int | None = None, nth: int = 0, note: str = "",
    ) -> str:  # fmt: skip
        """A judged row in a sentence. time: in ns; nth, note: as `Verdict` has them of the row."""
        words = self.words[cause] if 0 <= cause < len(self.words) else ""
        when = self.when(time) if self.when is not None and time is not None and _SEASON in words else ""
        return why(value, score, lower, upper, words, yhat=yhat, when=when, nth=nth, note=note)


def why(
    value: float, score: float, lower: float, upper: float, cause: str = "", *,
    yhat: float = math.nan, when: str = "", nth: int = 0, note: str = "",
) -> str:  # fmt: skip
    """One sentence for a person: "Higher than usual for this time of day and week (Sunday 03:30): 384, 3.2 times the
    usual 120, expected 100 to 140 (sample 5 of this anomaly)".

    cause: words that can begin it; everything before the last colon and blank is the cause. note: what the detector
    adds to it. when: said behind a cause that speaks of the time of day and week. nth: said from 2 on. The band is left
    out where it is not known and where the value lies inside it, or touches it, as it does where the cause is another
    one. score: says what stands there without a cause.
    """
    if math.isnan(value):
        return "No value"
    outside = value < lower or value > upper  # never with NaN
    begin = cause or _usual(value, score, upper, outside)
    if when and _SEASON in begin:
        begin = begin.replace(_SEASON, f"{_SEASON} ({when})")
    sentence = f"{begin[0].upper()}{begin[1:]}{f' {note}' if note else ''}: "
    many = f" (sample {nth} of this anomaly)" if nth > 1 else ""
    passed = upper if value > upper else lower
    if not outside or note or math.isclose(value, passed, rel_tol=1e-12):
        return f"{sentence}{figure(value)}{many}"
    digits = next((n for n in range(_DIGITS, _MOST_DIGITS) if figure(value, n) != figure(passed, n)), _MOST_DIGITS)
    usual = against(value, yhat)
    expected = _band(figure(lower, digits), figure(upper, digits), lower, upper)
    return f"{sentence}{figure(value, digits)}{f', {usual}' if usual else ''}, expected {expected}{many}"


def against(value: float, yhat: float) -> str:
    """A value against what was expected: "3.2 times the usual 120", "40% below the usual 2"; empty where that is not
    known, or about the same."""
    if not math.isfinite(value - yhat):
        return ""
    usual = f"the usual {figure(yhat)}"
    ratio = value / yhat if yhat > 0 and value >= 0 else math.nan
    if ratio >= 1.5 and ratio < 1e6:
        return f"{figure(ratio, 2 if ratio < 100 else 3)} times {usual}"
    if 1 / 1.005 < ratio < 1.005:
        return ""
    if ratio < 1.5:
        return f"{abs(ratio - 1):.0%} {'above' if ratio > 1 else 'below'} {usual}"
    return f"{figure(abs(value - yhat))} {'above' if value > yhat else 'below'} {usual}"


def _band(low: str, high: str, lower: float, upper: float) -> str:
    if math.isfinite(lower) and math.isfinite(upper):
        return f"{low} to {high}"
    return f"at most {high}" if math.isfinite(upper) else f"at least {low}"


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
