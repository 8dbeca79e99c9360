"""Arrays to a Bokeh figure: one series with its learned band, anomalies and alarms, as in the dashboard.

`figure_json` gives the Bokeh document for a page that has BokehJS already; `figure_html` a page of its own that holds
BokehJS and opens with no network. Nothing here reads a store, a clock or a file but Bokeh's own scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from bokeh.embed import file_html, json_item
from bokeh.layouts import column
from bokeh.models import BoxAnnotation, ColumnDataSource, HoverTool, Range1d
from bokeh.plotting import figure
from bokeh.resources import INLINE

from almenara.model.alarm import Severity
from almenara.plot.gaps import lone
from almenara.plot.panel import DARK, LIGHT, Panel, Style, value_range

_MS = 1_000_000
#: As many letters of a title as a phone is wide.
_PHONE_LETTERS = 40
#: Severity is told by shape as well as by colour.
MARKERS = {"warning": "circle", "minor": "triangle", "major": "diamond", "critical": "star"}
SIZES = {"warning": 8, "minor": 10, "major": 12, "critical": 15}


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
