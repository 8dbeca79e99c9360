"""What the HTTP floor counts about itself, and GET /metrics: all figures of the hub in Prometheus' text format.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterable

from almenara.pipeline import counters
from almenara.query.matrix import format_value

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FIGURES: dict[str, tuple[str, str]] = {
    "almenara_http_refused_total": (
        "counter",
        "Requests refused unread, by status: a foreign Host or Origin, no token",
    ),
    "almenara_live_streams": ("gauge", "Open live streams"),
    "almenara_live_dropped_total": ("counter", "Live streams closed because their reader took nothing any more"),
}

counters.DESCRIBED.update(FIGURES)


def exposition(samples: Iterable[counters.Sample]) -> str:
    """Figures, ordered by name, as Prometheus scrapes them."""
    lines, last = [], ""
    for one in samples:
        if one.name != last:
            last = one.name
            lines += [f"# HELP {one.name} {_escape(one.help)}", f"# TYPE {one.name} {one.kind}"]
        labels = ",".join(f'{k}="{_escape(v, quote=True)}"' for k, v in one.labels)
        lines.append(
            f"{one.name}{{{labels}}} {format_value(one.value)}" if labels else f"{one.name} {format_value(one.value)}"
        )
    return "\n".join(lines) + "\n"


def _escape(text: str, quote: bool = False) -> str:
    plain = text.replace("\\", "\\\\").replace("\n", "\\n")
    return plain.replace('"', '\\"') if quote else plain
