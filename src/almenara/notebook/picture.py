"""What a detector said of many series as a picture: a page with the worst of them that needs no network, or a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from almenara.analysis.decimate import extremes
from almenara.model.errors import AlmenaraError, MissingExtra
from almenara.model.series import Series
from almenara.model.time import format_time
from almenara.notebook.anomalies import HEADS, Found, anomalies, table
from almenara.notebook.frames import NO_TIME
from almenara.notebook.judge import SEVERITIES, Answers
from almenara.plot.panel import Panel

SUFFIXES = (".html", ".png")
#: Of more series than these, the ones with the worst anomalies are drawn.
MOST_PANELS = 20
#: Parts that the time of a series is cut into; of each its lowest and its highest value is drawn.
_BUCKETS = 1500
#: Of more anomalies than these in one series the worst are marked.
_MOST_MARKS = 300
_MOST_ROWS = 50


def check(path: Path) -> Path:
    """`path`, if its name says what to draw. Raises AlmenaraError, MissingExtra."""
    if path.suffix.lower() not in SUFFIXES:
        raise AlmenaraError(f"plot: found {str(path)!r}, expected a name that ends in {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".png":
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise MissingExtra("drawing a PNG", "plot") from error
    return path


def save(path: Path, keys: Sequence[bytes], id: np.ndarray, time: np.ndarray, answers: Answers, title: str = "") -> int:
    """Draw the series with the worst anomalies, and those without in their order; returns how many were drawn.

    Raises AlmenaraError where the name ends in nothing known, there is nothing to draw, or the file cannot be written.
    """
    check(path)
    known = np.flatnonzero(time != NO_TIME)
    if not len(known):
        raise AlmenaraError("plot: found no row with a time, expected something to draw")
    score = np.nan_to_num(answers.score, nan=0.0)
    top = np.zeros(len(keys))
    np.maximum.at(top, id, np.where(score >= 1, score, 0))
    there = np.unique(id[known])
    chosen = np.sort(there[np.argsort(-top[there], kind="stable")][:MOST_PANELS])
    span = int(time[known].min()), int(time[known].max()) + 1
    order = known[np.lexsort((time[known], id[known]))]
    first, last = np.searchsorted(id[order], chosen, "left"), np.searchsorted(id[order], chosen, "right")
    found = anomalies(id, time, answers)
    draw = _Draw(id, time, answers, found, answers.why(), span)
    panels = [
        draw.panel(i, str(Series.from_key(keys[i])), order[a:b])
        for i, a, b in zip(chosen.tolist(), first.tolist(), last.tolist(), strict=True)
    ]
    title = title or "What was unusual"
    try:
        if path.suffix.lower() == ".png":
            from almenara.plot.png import figure_png

            path.write_bytes(figure_png(panels, title=title))
        else:
            from almenara.plot.page import page_html

            lead = _lead(len(panels), len(there), found, span)
            rows = table(keys, id, time, answers, found, _MOST_ROWS)
            told = "The worst anomalies" if len(found.row) > len(rows) else "Anomalies"
            page = page_html(panels, title=title, lead=lead, heads=HEADS, rows=rows, table_title=told)
            path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise AlmenaraError(f"{path}: {error.strerror or error}") from error
    return len(panels)


@dataclass(frozen=True, slots=True, eq=False)
class _Draw:
    id: np.ndarray
    time: np.ndarray
    answers: Answers
    found: Found
    why: tuple[np.ndarray, list[str]]
    span: tuple[int, int]

    def panel(self, series: int, title: str, rows: np.ndarray) -> Panel:
        """Of a series' rows, in order of time, those that are seen; each anomaly is shaded and marked at its worst."""
        answers, time, (which, texts) = self.answers, self.time, self.why
        mine = np.flatnonzero(self.id[self.found.row] == series)
        if len(mine) > _MOST_MARKS:
            scores = answers.score[self.found.worst[mine]]
            mine = np.sort(mine[np.argpartition(-scores, _MOST_MARKS)[:_MOST_MARKS]])
        worst = self.found.worst[mine]
        worst = worst[np.argsort(time[worst], kind="stable")]
        shown = rows[extremes(time[rows], answers.value[rows], *self.span, _BUCKETS, np.isin(rows, worst))]
        spans = [
            (int(time[a]), int(time[b]), SEVERITIES[int(answers.level[w])])
            for a, b, w in zip(self.found.row[mine], self.found.last[mine], self.found.worst[mine], strict=True)
        ]
        return Panel(
            title, time[shown], answers.value[shown], answers.yhat[shown], answers.lower[shown], answers.upper[shown],
            answers.score[shown], alarms=spans, marks=time[worst], notes=[texts[i] for i in which[worst].tolist()],
        )  # fmt: skip


def _lead(drawn: int, there: int, found: Found, span: tuple[int, int]) -> list[str]:
    begin, end = format_time(span[0])[:16].replace("T", " "), format_time(span[1] - 1)[:16].replace("T", " ")
    which = f"{there:,} series" if drawn == there else f"The {drawn} series with the worst anomalies of {there:,}"
    count = len(found.row)
    said = f"{count:,} anomal{'y' if count == 1 else 'ies'}" if count else "no anomaly"
    return [f"{which}, {begin} to {end} UTC: {said}. Each value is compared with what its own series did before."]
