"""What the hub says of rows on MQTT: anomalies, and every judged row of series that were asked for."""

from __future__ import annotations

from almenara.model.alarm import Evidence, Severity
from almenara.model.series import Series
from almenara.model.time import format_time
from almenara.model.topic import ROOT, slug
from almenara.notifiers._plain import numbers_of, to_json
from almenara.notifiers.mqtt import Message, alarm_message

__all__ = ["Message", "alarm_message", "anomaly_message", "judged_message", "series_level"]


def anomaly_message(series: Series, time: int, evidence: Evidence, nth: int = 0, root: str = ROOT) -> Message:
    """A row over its limit (score of 1 and more), or the first one back under it. time in ns; NaN becomes null. nth:
    which row over the limit of its anomaly it is; the first one is its alert."""
    over = evidence.score >= 1
    body = _row(series, time, evidence) | {"anomaly": over, "detector": evidence.detector, "why": evidence.why}
    if over:
        body |= {"severity": Severity.of_score(evidence.score).value, "alert": nth == 1, "nth": nth}
    return Message(f"{root}/anomaly/{series_level(series)}", to_json(body), False)


def judged_message(series: Series, time: int, evidence: Evidence, root: str = ROOT) -> Message:
    """One judged row: its value and what was expected. Score and band are null while the detector is not ready."""
    return Message(f"{root}/judged/{series_level(series)}", to_json(_row(series, time, evidence)), False)


def series_level(series: Series) -> str:
    """The topic level of a series: readable, and different for each series."""
    return slug(str(series), series.key)


def _row(series: Series, time: int, evidence: Evidence) -> dict[str, object]:
    return {
        "name": series.name,
        "labels": dict(series.labels),
        "time": format_time(time),
        **numbers_of(evidence),
    }
