"""How `bench/detection.py` counts: segments found in time with one threshold for all, calibration, alerts by age."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from detection_corpora import Corpus, weeks_of

from almenara.analysis.alerts import Anomalies
from almenara.model.time import DAY_NS
from almenara.testing.planted import MERGE

WITHIN = 7
LEVELS = (0.05, 0.01, 0.001, 0.0001)
#: Age of a series in days, from and to, in which alerts are counted by themselves.
AGES = ((0.0, 1 / 24), (1 / 24, 1.0), (1.0, 7.0), (7.0, 14.0), (14.0, 1e9))


@dataclass(frozen=True, slots=True)
class Found:
    """F1 of segments found within WITHIN rows of their start against alerts outside of segments; threshold from the
    first half, the rest from the second. point_f1: rows, all of a segment counted as found with it."""

    threshold: float
    f1: float
    precision: float
    recall: float
    segments: int
    false_a_week: float
    point_f1: float
    best_f1: float  # with the threshold that would have been best on the second half: what calibration could still win


@dataclass(frozen=True, slots=True, eq=False)
class _Half:
    segment: np.ndarray  # float64[s]: the highest score in the first rows of each segment
    length: np.ndarray  # int64[s]
    row: np.ndarray  # int64[k]: rows that may be over a threshold, in order
    score: np.ndarray  # float64[k]
    inside: np.ndarray  # bool[k]: within a segment


def merged(corpus: Corpus, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(series, time, label, score) of what is judged: servers as wholes have the highest score of their metrics."""
    label = corpus.label if corpus.label is not None else np.zeros(len(score), bool)
    if not corpus.servers:
        return corpus.id, corpus.time, label, score
    n, many = int((corpus.id == 0).sum()), corpus.servers
    by_metric = np.where(np.isnan(score), -np.inf, score).reshape(many, -1, n)
    whole = by_metric.max(axis=1).ravel()
    first = label.reshape(many, -1, n)[:, 0].ravel()
    return np.repeat(np.arange(many), n), np.tile(corpus.time[:n], many), first, whole


def _half(id: np.ndarray, label: np.ndarray, score: np.ndarray, take: np.ndarray, lowest: float) -> _Half:
    rows = np.flatnonzero(take)
    id, label, score = id[rows], label[rows], np.nan_to_num(score[rows], nan=-np.inf)
    change = np.r_[True, (np.diff(id) != 0) | (np.diff(label.astype(np.int8)) != 0)]
    starts = np.flatnonzero(change)
    ends = np.r_[starts[1:], len(id)]
    segments = [(a, b) for a, b in zip(starts.tolist(), ends.tolist(), strict=True) if label[a]]
    highest = np.array([score[a : min(b, a + WITHIN + 1)].max() for a, b in segments])
    length = np.array([b - a for a, b in segments], np.int64)
    over = np.flatnonzero(score >= lowest)
    # Rows of different series are kept apart by a gap longer than any alert.
    return _Half(highest, length, over + id[over].astype(np.int64) * (10 * MERGE), score[over], label[over])


def _count(half: _Half, threshold: float) -> tuple[int, int, int, float]:
    """(segments found, segments, false alerts, F1 of points) at a threshold."""
    over = half.score >= threshold
    row, inside = half.row[over], half.inside[over]
    begins = np.diff(row, prepend=-(10**9)) > MERGE
    found = half.segment >= threshold
    hit, missed, wrong = half.length[found].sum(), half.length[~found].sum(), (~inside).sum()
    point = 2 * hit / (2 * hit + missed + wrong) if hit else 0.0
    return int(found.sum()), len(found), int((begins & ~inside).sum()), float(point)


def _f1(found: int, segments: int, wrong: int) -> float:
    return 2 * found / (found + segments + wrong) if segments + wrong else 0.0


def found(corpus: Corpus, score: np.ndarray) -> Found:
    """One threshold for all series, chosen on the first half of the time, applied to the second."""
    id, time, label, score = merged(corpus, score)
    judged = score[(time >= corpus.first_ns) & np.isfinite(score)]
    candidates = np.unique(np.quantile(judged, 1 - np.geomspace(0.05, 5 / len(judged), 150)))
    first = _half(id, label, score, (time >= corpus.first_ns) & (time < corpus.half_ns), candidates[0])
    second = _half(id, label, score, time >= corpus.half_ns, candidates[0])
    threshold = float(max(candidates, key=lambda c: _f1(*_count(first, c)[:3])))
    by_points = float(max(candidates, key=lambda c: _count(first, c)[3]))
    hits, segments, wrong, _ = _count(second, threshold)
    return Found(
        threshold,
        _f1(hits, segments, wrong),
        hits / (hits + wrong) if hits else 0.0,
        hits / segments,
        segments,
        wrong / (weeks_of(corpus) / 2),
        _count(second, by_points)[3],
        max(_f1(*_count(second, c)[:3]) for c in candidates),
    )


def calibration(corpus: Corpus, score: np.ndarray, p_limit: float) -> dict[str, Any]:
    """On data without known faults: how often the score said p or less, for each nominal p; alerts a series, week."""
    rows = (corpus.time >= corpus.first_ns) & np.isfinite(score)
    n, said = int(rows.sum()), score[rows]
    share = {str(p): float((said >= np.log(p) / np.log(p_limit)).mean()) for p in LEVELS}
    alerts = int((Anomalies().step(corpus.id, np.where(rows, score, np.nan)) == 1).sum())
    return {
        "rows": n,
        "share_beyond": share,
        "limit_interval": wilson(int((said >= 1).sum()), n),
        "coverage_95": 1 - share["0.05"],
        "alerts_a_week": alerts / weeks_of(corpus),
    }


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share, as if rows were independent (they are not: it is too narrow)."""
    p, square = k / n, z * z
    middle, half = p + square / (2 * n), z * np.sqrt(p * (1 - p) / n + square / (4 * n * n))
    return float((middle - half) / (1 + square / n)), float((middle + half) / (1 + square / n))


def by_age(corpus: Corpus, score: np.ndarray) -> dict[str, float]:
    """Alerts a series and day on clean data, by age of the series in days; and rows to the first verdict."""
    begin = corpus.time[np.searchsorted(corpus.id, corpus.id)]
    age = (corpus.time - begin) / DAY_NS
    row = np.flatnonzero(score >= 1)
    starts = row[np.diff(row + corpus.id[row].astype(np.int64) * (10 * MERGE), prepend=-(10**9)) > MERGE]
    series = len(np.unique(corpus.id))
    out = {}
    for low, high in AGES:
        days = min(high, float(age.max())) - low
        if days > 0:
            count = int(((age[starts] >= low) & (age[starts] < high)).sum())
            out[f"{low:.2f}-{min(high, float(age.max())):.2f}"] = count / (series * days)
    ready = np.isfinite(score)
    out["rows_to_first_verdict"] = float(np.argmax(ready[corpus.id == corpus.id[0]]))
    return out


def as_dict(one: Found) -> dict[str, float]:
    return asdict(one)
