"""Pictures of what was found: the worst series, each anomaly once, one time axis, no network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import almenara as al
from almenara.model.errors import AlmenaraError
from almenara.notebook import picture
from almenara.plot.panel import Panel, value_range
from almenara.plot.png import figure_png
from almenara.testing.browser import Browser

EVIL = "</script><script>document.title = 'stolen'</script> $x^2$"


def many(series: int) -> pd.DataFrame:
    """Series of a thousand rows; of each the last rows are strange, the more so the higher its number."""
    time = pd.date_range("2026-01-01", periods=1000, freq="min", tz="UTC")
    noise = np.random.default_rng(1).normal(0, 1, (1000, series))
    noise[-5:] += np.arange(series) * 5
    return pd.DataFrame(noise, index=time, columns=[f"s{i}" for i in range(series)])


def ready(page: Browser) -> bool:
    return bool(page.execute("return window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle"))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_as_wide_as_its_window_moves_together_and_asks_nobody(tmp_path: Path, width: int) -> None:
    file = tmp_path / "out.html"
    df = many(3).rename(columns={"s2": EVIL})
    al.detect(df, plot=file)
    with Browser(width, 800) as page:
        page.open(file.as_uri())
        page.wait_until(lambda: ready(page))
        assert page.execute("return document.documentElement.scrollWidth") <= width
        assert page.text("h1") == "What was unusual"
        assert page.execute("return document.title") == "What was unusual"
        assert EVIL in page.text("table")
        starts = "const f = Bokeh.documents[0].roots()[0].children; {} return f.map(one => one.x_range.start)"
        before = page.execute(starts.format(""))
        after = page.execute(starts.format("f[0].x_range.start += 3600e3;"))
        assert len(set(after)) == 1
        assert after[0] == before[0] + 3600e3
        assert page.console() == []
        assert [one for one in page.requests() if not one.startswith("file:")] == []


def test_of_many_series_the_worst_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    out = al.detect(many(25), plot=file)
    worst = out.groupby("series")["score"].max().sort_values()
    page = file.read_text()
    assert f"The {picture.MOST_PANELS} series with the worst anomalies of 25" in page
    drawn = set(re.findall(r'"text":"(s\d+)"', page))
    assert len(drawn) == picture.MOST_PANELS
    assert set(worst.index[-5:]) <= drawn


def test_an_anomaly_is_marked_once_at_its_worst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panels: list[Panel] = []
    monkeypatch.setattr("almenara.plot.png.figure_png", lambda given, title: panels.extend(given) or b"")
    df = many(2)
    df.iloc[500:510, 1] += [9, 9, 9, 600, 9, 9, 9, 9, 9, 9]
    out = al.detect(df, plot=tmp_path / "out.png")
    alerts = out[out["alert"] & (out["series"] == "s1")]
    panel = panels[1]
    assert len(panel.marks) == len(panel.notes) == len(panel.alarms) == len(alerts)
    assert df.index[503].value in panel.marks
    assert [start for start, _, _ in panel.alarms] == [one.value for one in alerts["time"]]


def test_a_long_series_is_drawn_with_its_extremes(tmp_path: Path) -> None:
    time = pd.date_range("2026-01-01", periods=200_000, freq="s", tz="UTC")
    value = np.zeros(len(time))
    value[77_777] = 5
    file = tmp_path / "out.html"
    al.detect(pd.DataFrame({"time": time, "value": value}), plot=file)
    assert file.stat().st_size < 5_000_000


def test_a_png_needs_no_browser_and_takes_names_as_they_are(tmp_path: Path) -> None:
    panel = Panel(EVIL, np.arange(5) * 10**9, np.arange(5.0), alarms=[(0, None, "major")])
    assert figure_png([panel, panel], title=EVIL).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="at least one panel"):
        figure_png([])


def test_other_names_and_folders_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(AlmenaraError, match=r"expected a name that ends in .html or .png"):
        al.detect(many(1), plot=tmp_path / "out.svg")
    with pytest.raises(AlmenaraError, match="No such file or directory"):
        al.detect(many(1), plot=tmp_path / "none" / "out.html")
    with pytest.raises(AlmenaraError, match="found no row with a time"):
        al.detect(many(1).iloc[:0], plot=tmp_path / "out.html")


def test_json_of_bokeh_has_no_invalid_numbers(tmp_path: Path) -> None:
    df = many(1)
    df.iloc[5, 0] = np.nan
    al.detect(df, plot=tmp_path / "out.html")
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', (tmp_path / "out.html").read_text(), re.S)
    assert found is not None
    json.loads(found[1].replace("&lt;", "<"))


def test_a_band_that_is_wide_at_first_does_not_flatten_the_values() -> None:
    time, value = np.arange(4) * 10**9, np.array([1.0, 2.0, np.nan, 3.0])
    band = {"lower": np.array([-1e5, 0, 0, 0]), "upper": np.array([1e5, 4, 4, 4])}
    low, high = value_range(Panel("x", time, value, **band).columns())
    assert -3 < low < -2  # the values, and one and a half times their range below them
    assert 6 < high < 7
    assert value_range(Panel("x", time, value).columns()) == pytest.approx((0.82, 3.18))
    assert value_range(Panel("x", time, np.full(4, np.nan)).columns())[0] < 0
