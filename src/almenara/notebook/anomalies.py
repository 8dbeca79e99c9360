"""Samples over the limit put together to anomalies, and those as a table for people, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from almenara.analysis.alerts import spans
from almenara.model.series import Series
from almenara.model.time import format_time
from almenara.notebook.judge import SEVERITIES, Answers

HEADS = ("begins (UTC)", "series", "severity", "score", "rows", "why")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Anomalies in rising order of time. row, last: int64[k], the first and the last sample of each; worst: int64[k],
    the sample with the highest score; rows: int64[k], how many samples are over the limit."""

    row: np.ndarray
    last: np.ndarray
    worst: np.ndarray
    rows: np.ndarray


def anomalies(id: np.ndarray, time: np.ndarray, answers: Answers) -> Found:
    """Samples over the limit put together to anomalies: each begins where there is an alert."""
    over = np.flatnonzero(answers.level)
    over = over[np.lexsort((time[over], id[over]))]
    first, last, worst, rows = spans(np.where(answers.alert[over], 1, 2), answers.score[over])
    order = np.argsort(time[over[first]], kind="stable")
    return Found(over[first][order], over[last][order], over[worst][order], rows[order])


def table(
    keys: Sequence[bytes], id: np.ndarray, time: np.ndarray, answers: Answers, found: Found, most: int
) -> list[list[str]]:
    """The anomalies with the highest scores, the worst first, as texts in the order of HEADS."""
    which, texts = answers.why()
    order = np.argsort(-answers.score[found.worst], kind="stable")[:most]
    rows = []
    for at in order.tolist():
        row, worst = int(found.row[at]), int(found.worst[at])
        rows.append(
            [
                format_time(int(time[row])),
                str(Series.from_key(keys[int(id[row])])),
                SEVERITIES[int(answers.level[worst])],
                f"{answers.score[worst]:.2f}",
                f"{found.rows[at]:,}",
                texts[which[worst]],
            ]
        )
    return rows
