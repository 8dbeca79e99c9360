"""Arrays to a PNG with matplotlib, without a browser: series, their learned bands and their anomalies."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from almenara.model.alarm import Severity
from almenara.model.errors import MissingExtra
from almenara.plot.gaps import lone
from almenara.plot.panel import LIGHT, Panel, value_range

#: As MARKERS of Bokeh's figures, by matplotlib's names.
_MARKERS = {"warning": "o", "minor": "^", "major": "D", "critical": "*"}
_SIZES = {"warning": 22, "minor": 36, "major": 40, "critical": 90}
_DPI = 100


def figure_png(
    panels: Sequence[Panel], *, title: str = "", width: int = 1200, height: int = 260, dpi: int = _DPI,
    timezone: str = "UTC", span: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """A PNG; width and height are pixels of one panel. All share one time axis, which shows the clocks of `timezone`.

    dpi: pixels of an inch; letters are twice as large in a picture of 200. span: (first, last) ns on the time axis;
    None: as far as there are rows. Raises ValueError for no panel and for columns that differ in length, MissingExtra
    without matplotlib.
    """
    if not panels:
        raise ValueError("nothing to draw: expected at least one panel")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing a PNG", "plot") from error
    size = width / dpi, (height * len(panels) + (40 * dpi // _DPI if title else 0)) / dpi
    drawn = Figure(figsize=size, dpi=dpi, layout="constrained", facecolor=LIGHT.surface)
    for axes, panel in zip(np.ravel(drawn.subplots(len(panels), 1, sharex=True, squeeze=False)), panels, strict=True):
        _one(axes, panel, width)
    _clock(drawn.axes[-1], timezone, span)
    _key(drawn, title)
    out = io.BytesIO()
    drawn.savefig(out, format="png")
    return out.getvalue()


def _clock(axes: Any, timezone: str, span: tuple[int, int] | None) -> None:
    """The time axis in the clocks of a zone."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    zone = ZoneInfo(timezone)
    locator = AutoDateLocator(tz=zone, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))
    axes.xaxis.get_offset_text().set(size=8, color=LIGHT.muted)
    axes.set_xlabel(timezone, color=LIGHT.muted, fontsize=8)
    if span is not None:
        axes.set_xlim(*np.array(span, np.int64).view("M8[ns]"))


def _one(axes: Any, panel: Panel, width: int) -> None:
    columns = panel.drawn(width)
    time = np.round(columns["time"] * 1000).astype(np.int64).view("datetime64[us]")
    if np.isfinite(columns["yhat"]).any():
        axes.fill_between(
            time, columns["lower"], columns["upper"], color=LIGHT.data, alpha=0.16, linewidth=0, label="usual range"
        )
        axes.plot(time, columns["yhat"], color=LIGHT.data, alpha=0.62, linewidth=1, linestyle="--", label="expected")
    axes.plot(time, columns["value"], color=LIGHT.data, linewidth=1.3, label="value")
    alone = lone(columns["value"])
    axes.scatter(time[alone], columns["value"][alone], s=4, color=LIGHT.data)
    for start, end, severity in panel.alarms:
        left, right = np.array([start, columns["time"][-1] * 1e6 if end is None else end], np.int64).view("M8[ns]")
        axes.axvspan(left, right, color=LIGHT.severity[severity], alpha=0.13, linewidth=0, label="alarm")
    at = panel.marked(columns)
    names = np.array([Severity.of_score(score).value for score in columns["score"][at].tolist()])
    for name, marker in _MARKERS.items():
        rows = at[names == name] if len(at) else at
        if not len(rows):
            continue
        axes.scatter(
            time[rows], columns["value"][rows], s=_SIZES[name], marker=marker, color=LIGHT.severity[name],
            edgecolors=LIGHT.surface, linewidths=0.6, zorder=3, label=name,
        )  # fmt: skip
    # A title is a name, in which $ and \\ mean themselves.
    axes.set_title(panel.title, loc="left", fontsize=10, color=LIGHT.ink, parse_math=False)
    axes.set_ylabel(panel.unit, color=LIGHT.muted)
    axes.grid(axis="y", color=LIGHT.grid)
    axes.tick_params(colors=LIGHT.muted, length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    axes.margins(x=0.01)
    axes.set_ylim(*value_range(columns))


def _key(drawn: Any, title: str) -> None:
    """What lines and marks mean, once for all panels, as far as there are such."""
    if title:
        drawn.suptitle(title, x=0.01, ha="left", fontsize=13, color=LIGHT.ink, parse_math=False)
    found: dict[str, Any] = {}
    for axes in drawn.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    letters = sum(len(label) + 6 for label in found)
    room = drawn.get_size_inches()[0] * 17  # letters of 8 points in a line
    columns = len(found) if letters <= room else -(-len(found) // 2)
    drawn.legend(
        found.values(), found.keys(), loc="outside lower center", ncols=max(columns, 1), frameon=False, fontsize=8,
        labelcolor=LIGHT.ink,
    )  # fmt: skip
