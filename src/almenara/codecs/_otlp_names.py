"""Names of OpenTelemetry as names of Prometheus: `http.server.duration` in `s` is `http_server_duration_seconds`.

Rules: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/, as Prometheus' own OTLP
receiver applies them. Units are UCUM, https://ucum.org/ucum.
"""

from __future__ import annotations

import re

from almenara.model.series import label_name, metric_name

_NOT_NAME = re.compile(r"[^a-zA-Z0-9:]+")
_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tibibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes", "m": "meters",
    "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "1": "",
    "%": "percent",
}  # fmt: skip
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


def prometheus_name(name: str, unit: str, *, counter: bool, gauge: bool) -> str:
    """The metric name, with the unit and `_total` of a counter behind it; empty where nothing of it can be a name."""
    words = _words(name)
    words += [word for word in _unit_words(unit) if word not in words]
    for suffix in ["total"] * counter + ["ratio"] * (gauge and unit == "1"):
        words = [word for word in words if word != suffix] + [suffix]
    return metric_name("_".join(words)) if _words(name) else ""


def prometheus_unit(unit: str) -> str:
    """The unit in the words of Prometheus: `By/s` is `bytes_per_second`."""
    return "_".join(_unit_words(unit))


def _unit_words(unit: str) -> list[str]:
    """The words that a unit adds to a name; annotations such as `{requests}` add none."""
    main, _, per = (part.strip() for part in unit.partition("/"))
    words = [] if _is_annotation(main) else ["_".join(_words(_UNITS.get(main, main)))]
    if per and not _is_annotation(per) and (over := "_".join(_words(_PER.get(per, per)))):
        words.append(f"per_{over}")
    return [word for word in words if word]


def _words(text: str) -> list[str]:
    return [word for word in _NOT_NAME.split(text) if word]


def _is_annotation(unit: str) -> bool:
    return "{" in unit or "}" in unit


def prometheus_label(name: str) -> str:
    """The label name of an attribute."""
    return f"key_{label_name(name)[1:]}" if name[:1].isdigit() else label_name(name)


def labels_of(attributes: dict[str, str]) -> dict[str, str]:
    """Labels of attributes; values of those that get one name are joined with `;`, in the order of their own names."""
    labels: dict[str, str] = {}
    for name in sorted(attributes):
        label = prometheus_label(name)
        labels[label] = f"{labels[label]};{attributes[name]}" if label in labels else attributes[name]
    return labels
