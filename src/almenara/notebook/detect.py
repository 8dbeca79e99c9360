"""`al.detect(df)`: every row of a DataFrame judged against the past of its own series, with no hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from almenara.model.series import Series
from almenara.notebook.frames import frame_of
from almenara.notebook.judge import SEVERITIES, Answers, Choice, judge, tuning_of
from almenara.notebook.tables import Table, table_of


def detect(
    df: Any,
    *,
    detector: str = "seasonal",
    options: Mapping[str, Any] | None = None,
    timezone: str | None = None,
    country: str = "",
    calendars: Mapping[str, Any] | None = None,
    time: str | None = None,
    value: str | Sequence[str] | None = None,
    series: str | Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    p_limit: float | None = None,
    budget_per_week: float | None = None,
    detection_direction: str = "both",
    min_dev_from_expected: float | Sequence[float] = 0.0,
    min_rel_dev_from_expected: float | Sequence[float] = 0.0,
    data_range: Sequence[float] | None = None,
    rules: Sequence[Mapping[str, Any]] = (),
    plot: str | Path | None = None,
) -> Any:
    """Judge every row of a pandas or polars DataFrame, as a hub would have done when the row arrived.

    df: long (a time, a `value`, and columns of text that tell series apart) or wide (a time, or an index of times, and
    one column of numbers a series). Times: datetimes of any unit, ISO 8601 texts, numbers since 1970 of any unit;
    without a zone they are UTC. Rows may come in any order; of equal times of a series the last row counts.

    Returns a DataFrame of the same library with a row for each row of `df`, in its order (pandas: with its index):
    `score` (NaN not ready, 0 as expected, 1 at the limit), `alert` (true once, where an anomaly begins), `severity`
    (warning, minor, major, critical, or empty), `yhat`, `yhat_lower`, `yhat_upper` (what was expected, and the band;
    of counters the rate a second) and `why` (a sentence; empty for what is as usual). A wide frame of several columns
    becomes long: those of `df.melt()`, with `time`, `series` and `value` before the answers.

    detector, options: a detector plugin and its options. timezone, country: whose days, weeks and public holidays
    count. calendars: days and hours that are apart, by name, such as {"payday": "last business day of month",
    "vacation": "vacation.ics", "fair": ["2026-03-02/2026-03-06"]}, or tables with the keys of [calendars.NAME] in
    `hub.toml`; what they do to each series is learned. time, value, series: titles of columns, where they cannot be
    told; several `series` are labels. kinds: {"name": "counter"} where a name does not end in `_total`. p_limit: how
    likely a usual row is to be flagged; budget_per_week: the same as a number of rows a week, of all series together.
    plot: a file to draw into, .html or .png.

    What counts as an anomaly: detection_direction, "above_expected" or "below_expected" for one side only;
    min_dev_from_expected, the least distance from what is expected, for both sides or [below, above], and
    min_rel_dev_from_expected, the same in percent of it; data_range, [lowest, highest] possible value, one outside is
    an anomaly; rules, such as [{"conditions": ["actual < 5"], "actions": ["skip_result"]}], of actual, typical and
    diff_from_typical, with the actions skip_result and skip_model_update.

    Raises AlmenaraError: what was found, and what was expected.
    """
    if plot is not None:  # what draws takes long to import
        from almenara.notebook import picture

        picture.check(Path(plot))
    frame = frame_of(df)
    table = table_of(frame, time, value, series)
    given = (detection_direction, min_dev_from_expected, min_rel_dev_from_expected, data_range)
    tuning = tuning_of(*given, rules=rules)
    choice = Choice(detector, options, timezone, country, p_limit, budget_per_week, kinds, tuning, calendars)
    answers = judge(table.keys, table.id, table.time, table.value, choice)
    if plot is not None:
        picture.save(Path(plot), table.keys, table.id, table.time, answers)
    columns = columns_of(answers)
    if table.columns == 1:
        return frame.answer(columns, beside=True)
    return frame.answer(_told(table) | columns, beside=False)


def columns_of(answers: Answers) -> dict[str, Any]:
    """The columns of an answer: arrays, or (which text, texts)."""
    return {
        "score": answers.score,
        "alert": answers.alert,
        "severity": (answers.level, SEVERITIES),
        "yhat": answers.yhat,
        "yhat_lower": answers.lower,
        "yhat_upper": answers.upper,
        "why": answers.why(),
    }


def _told(table: Table) -> dict[str, Any]:
    """What a row of a wide frame is, once it is long."""
    names = [str(Series.from_key(key)) for key in table.keys]
    time = np.ascontiguousarray(table.time).view("datetime64[ns]")
    return {"time": time, "series": (table.id, names), "value": table.value}
