"""Arrays to a Bokeh figure: one series with its learned band, anomalies and alarms, as in the dashboard.

`figure_json` gives the Bokeh document for a page that has BokehJS already; `figure_html` a page of its own that holds
BokehJS and opens with no network. Nothing here reads a store, a clock or a file but Bokeh's own scripts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

import numpy as np
from bokeh.embed import file_html, json_item
from bokeh.layouts import column
from bokeh.models import BoxAnnotation, ColumnDataSource, HoverTool, Range1d
from bokeh.plotting import figure
from bokeh.resources import INLINE

from almenara.model.alarm import Severity
from almenara.plot.gaps import gaps, lone, with_gaps

_MS = 1_000_000
#: As many letters of a title as a phone is wide.
_PHONE_LETTERS = 40
#: The band is seen as far beyond the values, in parts of their range; that of a series' first rows may be very wide.
_BAND_REACH = 1.5


@dataclass(frozen=True, slots=True)
class Style:
    """Colours of a figure; the same as in the dashboard's style sheet."""

    surface: str
    ink: str
    muted: str
    grid: str
    data: str
    severity: Mapping[str, str]


LIGHT = Style(
    "#ffffff",
    "#1b2430",
    "#596473",
    "#eceae3",
    "#1c5d99",
    {"warning": "#c98a00", "minor": "#d9660b", "major": "#d0342c", "critical": "#a3136f"},
)
DARK = Style(
    "#171f29",
    "#e6ebf1",
    "#9caabb",
    "#222d39",
    "#6cb2f5",
    {"warning": "#f0b93a", "minor": "#ff9547", "major": "#ff6b5e", "critical": "#ff74c8"},
)

#: Severity is told by shape as well as by colour.
MARKERS = {"warning": "circle", "minor": "triangle", "major": "diamond", "critical": "star"}
SIZES = {"warning": 8, "minor": 10, "major": 12, "critical": 15}


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One series to draw. time: int64[n], ns UTC; value, yhat, lower, upper, score: float64[n], NaN = not known.

    alarms: (start ns, end ns or None while it is open, severity). marks: int64[k] ns, rising, which rows with a score
    of 1 or more get a mark, None = all of them; notes: a sentence for each mark.
    """

    title: str
    time: Any
    value: Any
    yhat: Any = None
    lower: Any = None
    upper: Any = None
    score: Any = None
    unit: str = ""
    alarms: Sequence[tuple[int, int | None, str]] = field(default_factory=tuple)
    marks: Any = None
    notes: Sequence[str] = ()

    def marked(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """int64[k]: which rows of `drawn` get a mark."""
        over = columns["score"] >= 1
        if self.marks is not None:
            over &= np.isin(columns["time"], np.asarray(self.marks, np.int64) / _MS)
        return np.flatnonzero(over)

    def columns(self) -> dict[str, np.ndarray]:
        """All columns as arrays of one length, time in ms. Raises ValueError where lengths differ."""
        time = np.asarray(self.time, np.int64)
        found = {"time": time / _MS}
        for name in ("value", "yhat", "lower", "upper", "score"):
            given = getattr(self, name)
            column = np.full(len(time), math.nan) if given is None else np.asarray(given, np.float64)
            if len(column) != len(time):
                raise ValueError(f"{name} of {self.title!r}: expected {len(time)} rows as in time; got {len(column)}")
            found[name] = column
        return found

    def drawn(self, width: int) -> dict[str, np.ndarray]:
        """`columns`, with a missing row in every gap that is wider than one of `width` pixels."""
        found = self.columns()
        time = found.pop("time")
        middles, _ = gaps(np.asarray(self.time, np.int64), np.ptp(time) * _MS / width if len(time) else 0)
        return with_gaps(time, found, middles / _MS)


def draw(
    panels: Sequence[Panel], *, dark: bool = False, width: int = 900, height: int = 280, stretch: bool = False
) -> Any:
    """A Bokeh layout: one figure a panel, below each other, with one time axis for all.

    width and height: pixels of one figure. stretch: they become as wide as their page, whatever `width`.
    Raises ValueError for no panel and for columns that differ in length.
    """
    if not panels:
        raise ValueError("nothing to draw: expected at least one panel")
    style = DARK if dark else LIGHT
    columns = [panel.drawn(width) for panel in panels]
    times = np.concatenate([one["time"] for one in columns])
    x_range = Range1d(float(times.min()), float(times.max())) if len(times) else Range1d(0, 1)
    figures = [_one(panel, one, style, x_range, width, height) for panel, one in zip(panels, columns, strict=True)]
    if stretch:
        for one in figures:
            one.sizing_mode, one.toolbar_location = "stretch_width", "below"
            one.title.text = "\n".join(wrap(one.title.text, _PHONE_LETTERS))  # what is wider would widen the page
            one.xaxis.axis_label = "UTC" if one is figures[-1] else None
            one.toolbar.active_drag = None  # on a phone the finger that moves the page would zoom
        return column(figures, sizing_mode="stretch_width")
    return figures[0] if len(figures) == 1 else column(figures)


def figure_json(panels: Sequence[Panel], *, target: str | None = None, dark: bool = False) -> dict[str, Any]:
    """The Bokeh document for `Bokeh.embed.embed_item`; `target` is the id of the element that it goes into."""
    return dict(json_item(draw(panels, dark=dark), target))


def figure_html(panels: Sequence[Panel], *, title: str = "Almenara", dark: bool = False) -> str:
    """A whole page with BokehJS inside; it opens from a disk, with no network."""
    return str(file_html(draw(panels, dark=dark), INLINE, title))


def _one(panel: Panel, columns: dict[str, np.ndarray], style: Style, x_range: Range1d, width: int, height: int) -> Any:
    plot = figure(
        width=width,
        height=height,
        x_axis_type="datetime",
        x_range=x_range,
        y_range=Range1d(*value_range(columns)),
        title=panel.title,
        tools="xpan,xbox_zoom,reset,save",
        active_drag="xbox_zoom",
        toolbar_location="right",
    )
    for start, end, severity in panel.alarms:
        right = None if end is None else end / _MS
        plot.add_layout(
            BoxAnnotation(
                left=start / _MS,
                right=right,
                fill_color=style.severity[severity],
                fill_alpha=0.13,
                line_color=None,
                level="underlay",
            )
        )
    xs, ys = _band(columns)
    plot.patches(xs, ys, fill_color=style.data, fill_alpha=0.16, line_color=None)
    source = ColumnDataSource(columns)
    plot.line("time", "yhat", source=source, color=style.data, alpha=0.62, line_dash=[5, 4])
    line = plot.line("time", "value", source=source, color=style.data, width=1.8)
    alone = lone(columns["value"])
    plot.scatter(columns["time"][alone], columns["value"][alone], size=4, color=style.data)
    marks = _marks(plot, columns, style, panel)
    unit = f" {panel.unit}" if panel.unit else ""
    number = f"{{0.[000]}}{unit}"
    told = [("time", "@time{%F %T} UTC"), ("value", f"@value{number}"), ("expected", f"@yhat{number}")]
    told.append(("score", "@score{0.[00]}"))
    beside = "below" if panel.notes else "horizontal"  # the sentence of a mark is above it
    shown = {"renderers": [line], "mode": "vline", "tooltips": told, "formatters": {"@time": "datetime"}}
    plot.add_tools(HoverTool(**shown, attachment=beside))
    if panel.notes:
        said = [("time", "@x{%F %T} UTC"), ("", "@note"), ("score", "@score{0.[00]}")]
        plot.add_tools(HoverTool(renderers=[marks], tooltips=said, formatters={"@x": "datetime"}, attachment="above"))
    _dress(plot, style, panel.unit)
    return plot


def value_range(columns: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """What the value axis shows: all values, and the band as far as it is near them. As on the dashboard."""
    value, lower, upper = (one[np.isfinite(one)] for one in (columns["value"], columns["lower"], columns["upper"]))
    if not len(value):
        value = np.concatenate((lower, upper)) if len(lower) and len(upper) else np.array([0.0, 1.0])
    low, high = float(value.min()), float(value.max())
    reach = _BAND_REACH * (high - low) or abs(high) * 0.5 or 1.0
    if len(lower) and len(upper):
        low, high = min(low, max(float(lower.min()), low - reach)), max(high, min(float(upper.max()), high + reach))
    pad = 0.09 * (high - low) or abs(high) * 0.1 or 1.0
    return low - pad, high + pad


def _band(columns: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """One polygon for each run of rows whose band is known."""
    time, lower, upper = columns["time"], columns["lower"], columns["upper"]
    known = np.isfinite(lower) & np.isfinite(upper)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False]))))
    runs = [slice(a, b) for a, b in edges.reshape(-1, 2).tolist()]
    xs = [np.concatenate((time[run], time[run][::-1])) for run in runs]
    return xs, [np.concatenate((lower[run], upper[run][::-1])) for run in runs]


def _marks(plot: Any, columns: dict[str, np.ndarray], style: Style, panel: Panel) -> Any:
    at = panel.marked(columns)
    names = [Severity.of_score(score).value for score in columns["score"][at].tolist()]
    looks = {
        "x": columns["time"][at],
        "y": columns["value"][at],
        "marker": [MARKERS[n] for n in names],
        "size": [SIZES[n] for n in names],
        "fill": [style.severity[n] for n in names],
        "score": columns["score"][at],
        "note": list(panel.notes) or [""] * len(at),
    }
    return plot.scatter(
        "x",
        "y",
        marker="marker",
        size="size",
        fill_color="fill",
        line_color=style.surface,
        source=ColumnDataSource(looks),
    )


def _dress(plot: Any, style: Style, unit: str) -> None:
    plot.background_fill_color = plot.border_fill_color = style.surface
    plot.outline_line_color = None
    plot.title.text_color = style.ink
    plot.xgrid.visible = False
    plot.ygrid.grid_line_color = style.grid
    plot.xaxis.axis_label, plot.yaxis.axis_label = "UTC", unit or None
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = style.muted
