"""Figures: what is drawn, and that a page of its own needs no network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from almenara.plot.figures import draw, figure_html, figure_json
from almenara.plot.panel import Panel
from almenara.testing.browser import Browser

S = 1_000_000_000
TIME = np.arange(100) * 60 * S + 1_700_000_000 * S
VALUE = np.sin(np.arange(100) / 8)
EVIL = "</script><script>document.title = 'stolen'</script>"


def panel(**more: object) -> Panel:
    """A series with a band that is not known at first, one critical and one minor anomaly, and an open alarm."""
    lower = np.where(np.arange(100) < 20, np.nan, VALUE - 0.3)
    score = np.zeros(100)
    score[[50, 60]] = 2.5, 1.3
    given = {"title": "temperature", "time": TIME, "value": VALUE, "yhat": VALUE, "lower": lower, "upper": VALUE + 0.3}
    return Panel(**{**given, "score": score, "alarms": [(int(TIME[50]), None, "critical")], **more})


def test_severity_is_told_by_shape_and_colour() -> None:
    marks = draw([panel()]).renderers[-1].data_source.data
    assert marks["marker"] == ["star", "triangle"]
    assert len(set(marks["fill"])) == 2
    assert marks["x"].tolist() == [TIME[50] / 1e6, TIME[60] / 1e6]


def test_the_band_has_a_gap_where_it_is_not_known() -> None:
    gap = np.full(100, 1.0)
    gap[[0, 40, 41]] = np.nan
    band = draw([panel(lower=-gap, upper=gap)]).renderers[0].data_source.data
    assert [len(run) for run in band["xs"]] == [2 * 39, 2 * 58]


def test_line_and_band_break_where_no_rows_came() -> None:
    time = TIME.copy()
    time[70:] += 3600 * S
    drawn = draw([panel(time=time)]).renderers
    assert [len(run) for run in drawn[0].data_source.data["xs"]] == [2 * 50, 2 * 30]
    line = drawn[1].data_source.data
    assert line["time"][70] == (time[69] + time[70]) / 2e6
    assert np.isnan(line["value"][70])
    assert len(line["value"]) == 101


def test_panels_share_one_time_axis() -> None:
    both = draw([panel(), panel(title="humidity", time=TIME + S)])
    assert both.children[0].x_range is both.children[1].x_range


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="score of 'temperature': expected 100 rows as in time; got 3"):
        draw([panel(score=np.zeros(3))])


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        draw([])


def test_the_document_is_json() -> None:
    item = figure_json([panel()], target="here")
    assert item["target_id"] == "here"
    json.dumps(item)


def test_no_address_of_another_host_is_loaded() -> None:
    page = figure_html([panel()])
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)


@pytest.mark.real("chromium", "chromium-driver")
def test_a_page_of_its_own_opens_from_disk(tmp_path: Path) -> None:
    file = tmp_path / "figure.html"
    file.write_text(figure_html([panel(title=EVIL)], title=EVIL, dark=True))
    with Browser(1000, 400) as window:
        window.open(file.as_uri())
        drawn = "return Bokeh.documents.length && Bokeh.documents[0].roots().length"
        window.wait_until(lambda: window.execute(drawn) == 1, "the figure")
        assert window.execute("return document.title") == EVIL
        assert window.console() == []
        assert window.requests() == []
