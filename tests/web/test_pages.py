"""The dashboard in a real browser, over a server with made-up data that speaks the hub's API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from tests.web.conftest import NOW, S, Served
from tests.web.page_fixture import Server
from tests.web.page_hub import EVIL

from almenara.testing.browser import Browser

pytestmark = pytest.mark.real("chromium", "chromium-driver")

HUMIDITY = 'humidity{city="Mumbai",id="CITIMUM",source="simulated"}'
STAR = 'temperature{city="Mumbai",id="CITIMUM",source="simulated"}'
#: How much of everything the first chart draws.
CHART = """
  const chart = [...document.querySelectorAll(".chart, .mini-chart")].map((host) => host.chart).find(Boolean);
  if (!chart) return null;
  const drawn = (source, column) => chart.sources[source].get(column).length;
  return {spans: drawn("spans", "x0"), band: drawn("band", "xs"), rows: drawn("line", "x"), marks: drawn("marks", "x"),
          start: chart.x.start, end: chart.x.end};
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("busy") as one:
        yield one


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with Browser(1280, 800) as one:
        yield one


@pytest.fixture
def page(server: Server, window: Browser) -> Iterator[Browser]:
    """A window in which nothing may go wrong: no error or warning in the console, no request to anyone else."""
    window.resize(1280, 800)
    window.console()
    window.requests()
    yield window
    assert window.console() == []
    assert [url for url in window.requests() if not url.startswith(f"{server.url}/")] == []


def chart(page: Browser) -> dict[str, float]:
    """What the first chart holds, once it holds rows."""
    return page.wait_until(lambda: (found := page.execute(CHART)) and found["rows"] and found, "a chart with rows")


def address(page: Browser) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_open_incidents_come_first_below_what_is_pressed(server: Server, page: Browser) -> None:
    page.open(server.url)
    page.find(".alarm.critical")
    assert "1 open incident" in page.text("main")
    assert "and 1 more alarm" in page.text(".alarm")
    assert page.text(".alarm .tag.severity") == "critical"
    assert page.find_all(".alarm .mark"), "severity has a shape besides its colour"
    assert page.text("#alarm-count") == "1"
    top = "return document.querySelector(arguments[0]).getBoundingClientRect().top"
    assert page.execute(top, ".demo .button") < page.execute(top, ".incidents")
    page.click("a.incident")
    page.find(".incident-head[aria-expanded=true]")
    assert address(page)["incident"] == ["7"]


def test_overview_draws_the_host_with_learned_bands(server: Server, page: Browser) -> None:
    page.open(server.url)
    page.find(".mini")
    assert {"CPU", "Memory", "Load"} <= set(page.text("[aria-label='This host']").split()), (
        "not the plant's own processors"
    )
    assert chart(page)["band"] >= 1


def test_a_series_is_found_by_name_and_label(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/series")
    page.type_text(".search", "mumbai temp")
    page.wait_until(lambda: page.text(".finder-note") == "3 series", "one series left, and what was made of it")
    page.click(".result-main")
    seen = chart(page)
    assert address(page)["name"] == [STAR]
    assert seen["band"] >= 1
    assert seen["marks"] >= 3
    assert seen["spans"] == 2
    page.wait_until(lambda: "critical" in page.text(".readout"), "the newest row in words")
    assert "expected" in page.text(".readout")
    assert "anomalies in this window" in page.text(".card-anomalies")


def test_what_was_measured_is_found_before_what_was_made_of_it(server: Server, page: Browser) -> None:
    names = "return [...document.querySelectorAll('.group-name')].map((one) => one.textContent)"
    page.open(f"{server.url}/series")
    page.find(".group-name")
    assert page.execute(names)[-2:] == ["anomaly", "anomaly_yhat"]
    page.type_text(".search", "temperature")
    page.wait_until(lambda: "series" in page.text(".finder-note"), "an answer")
    assert page.execute(names) == ["temperature", "motor_temperature", "anomaly", "anomaly_yhat"]
    assert "of: temperature" not in page.text(".filters")


def test_search_over_thousands_narrows_by_label(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/series?q=shop")
    page.wait_until(lambda: "first 1,000" in page.text(".finder-note"), "a bounded answer")
    page.click(".chip-button")
    page.wait_until(lambda: page.text(".finder-note") == "600 series", "one zone of five")
    assert address(page)["where"] == ["zone=z0"]


def test_a_live_row_appears_without_reload(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/series?range=1h&name={quote(STAR)}")
    chart(page)
    page.execute("window.untouched = true")
    pushed = httpx.post(f"{server.url}/fixture/push", json={"series": STAR, "value": 77.125}, trust_env=False)
    assert pushed.status_code == 204
    drawn = (  # what the glyph draws, not only what its source was given
        "const { chart } = document.querySelector('.chart');"
        "return [...chart.view.views.find_one(chart.glyphs.line).glyph.y].includes(77.125)"
    )
    page.wait_until(lambda: page.execute(drawn), "the pushed row")
    assert page.execute("return window.untouched") is True


def test_dragging_zooms_and_back_returns(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/series?range=6h&name={quote(STAR)}")
    before = chart(page)
    page.drag(".chart", 0.4, 0.7)
    page.wait_until(lambda: "start" in address(page), "the zoom in the address")
    page.wait_until(
        lambda: chart(page)["end"] - chart(page)["start"] < 0.6 * (before["end"] - before["start"]), "a zoom"
    )
    assert address(page)["name"] == [STAR]
    page.back()
    page.wait_until(lambda: address(page).get("range") == ["6h"], "the range in the address")
    page.wait_until(lambda: chart(page)["end"] - chart(page)["start"] > 6 * 3_600_000 - 1000, "the whole range")


def test_pointing_at_a_chart_says_it_in_words(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/series?range=6h&name={quote(STAR)}")
    chart(page)
    page.wait_until(lambda: "now" in page.text(".readout time"), "the newest row in words")
    page.hover(".chart", 0.3, 0.5)
    page.wait_until(lambda: "now" not in page.text(".readout time"), "the row under the pointer")
    assert "Inside its learned band" in page.text(".readout")


def test_several_series_share_one_time(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/series?range=1d&name={quote(STAR)}&name={quote(HUMIDITY)}")
    chart(page)
    assert len(page.find_all(".chart-card")) == 2
    page.click("[data-range='1h']")
    ends = "return [...document.querySelectorAll('.chart')].map(({chart}) => [chart.x.start, chart.x.end])"
    page.wait_until(lambda: len({tuple(one) for one in page.execute(ends)}) == 1, "one window for both")


def test_thresholds_are_lines_and_words_and_do_not_flatten_the_chart(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/series?range=6h&name={quote(HUMIDITY)}")
    chart(page)
    page.wait_until(lambda: "critical limit 1,000 %" in page.text(".legend"), "the limits in words")
    # Both at once: a live chart moves on every second.
    script = "const {chart} = document.querySelector('.chart'); return [chart.sources.warning.data, chart.x.end]"
    steps, end = page.execute(script)
    near = max(value for value in steps["y"] if value is not None and value == value)
    assert near - 5 in steps["y"]
    assert f"warning limit {near:g} %" in page.text(".legend")
    assert steps["x"][3] == end
    seen = page.execute("const {chart} = document.querySelector('.chart'); return [chart.y.start, chart.y.end]")
    assert seen[0] < near < seen[1] < 500


def test_markup_in_a_label_stays_text(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/series?q=door")
    page.wait_until(lambda: EVIL in page.text(".results"), "the label as text")
    page.click(".result-main")
    page.wait_until(lambda: EVIL in page.text(".card-title"), "the label in the title")
    page.open(f"{server.url}/series?q=nothing&name={quote(EVIL)}")
    page.wait_until(lambda: "no such series" in page.text(".chart-message"), "an answer for what does not exist")
    assert page.execute("return document.querySelectorAll('img').length") == 0
    assert any("404" in line for line in page.console())


def test_a_fault_can_be_injected_in_the_demo(server: Server, page: Browser) -> None:
    page.open(server.url)
    page.click(".demo .button")
    page.click(".menu button")
    page.wait_until(lambda: "leak" in page.text(".injected"), "the fault that runs")


def test_a_source_with_a_problem_says_what_to_do(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/sources")
    page.find(".source")
    assert "MQTT 5" in page.text(".source")
    assert "What to do" in page.text(".remedy")
    assert "12 rows future" in page.text("main")


def test_the_sums_of_the_ledger_are_shown_and_events_where_there_are_any(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/sources")
    page.find(".ledger")
    figures = page.execute("return [...document.querySelectorAll('.sums dt')].map(dt => dt.textContent)")
    assert figures == ["received", "stored", "duplicate", "overwritten", "rejected", "dropped"]
    assert "2 rows queue_full" in page.text("main")
    page.open(f"{server.url}/alarms")
    page.wait_until(lambda: "link eth1 is down" in page.text(".events"), "the event")


def test_alarm_budgets_are_shown_with_their_interval_where_there_are_any(server: Server, page: Browser) -> None:
    page.open(f"{server.url}/alarms")
    page.find(".budgets li")
    lines = page.execute("return [...document.querySelectorAll('.budgets li')].map(one => one.innerText)")
    assert "at most 7 a week, of 40 series together" in lines[0]
    assert "60 anomalies in 4 weeks; the true rate is from 11.4 to 19.3 (95 %)" in lines[0]
    said = [line.splitlines()[-1] for line in lines]
    assert said == ["over", "kept so far", "no judged rows yet"]
    with Server("calm") as calm:
        page.open(f"{calm.url}/alarms")
        page.find(".calm")
        page.wait_until(lambda: any("budgets" in one for one in page.requests()), "the question")
        assert "Alarm budgets" not in page.text("main")


def test_a_young_hub_shows_three_doors(page: Browser, server: Server) -> None:
    with Server("empty") as empty:
        page.open(empty.url)
        page.find(".door")
        told = page.text("main")
        page.open(server.url)
        page.requests()
    assert "almenara up --demo" in told
    assert "curl --data-binary 'cpu,host=a usage=3.5' http://127.0.0.1:8642/write" in told
    assert "mosquitto_pub -h 127.0.0.1 -p 1883" in told
    assert "@history.lp" in told


def test_a_hub_that_goes_away_is_said_and_found_again(window: Browser) -> None:
    with Server("busy") as one:
        window.resize(1280, 800)
        window.open(f"{one.url}/alarms")
        window.wait_until(lambda: window.text("#live") == "Live", "a live page")
        port = urlsplit(one.url).port or 0
    window.wait_until(lambda: "cannot be reached" in window.text("#lost"), "the word that it is gone")
    assert "1 open incident" in window.text("main"), "what was known stays"
    with Server("busy", port=port):
        window.wait_until(lambda: window.text("#live") == "Live", "a live page again")
        assert window.text("#lost") == ""
        window.open("about:blank")
    window.console()
    window.requests()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("path", ["/", f"/series?name={quote(STAR)}", "/series?q=door", "/alarms", "/sources"])
def test_nothing_is_wider_than_the_window(server: Server, page: Browser, width: int, height: int, path: str) -> None:
    page.resize(width, height)
    page.open(f"{server.url}{path}")
    page.find(".alarm, .mini, .result, .chart-card .now, .source")
    wide, seen = page.execute("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= seen
    if width < 500:
        small = page.execute(
            "return [...document.querySelectorAll('button, summary, nav a, input')].filter((e) => e.offsetParent)"
            ".filter((e) => e.getBoundingClientRect().height < 40).map((e) => e.className + ': ' + e.textContent)"
        )
        assert small == [], "what is touched is at least 40 px high"


def test_the_hubs_own_server_serves_the_pages(serving: Callable[..., Served], window: Browser) -> None:
    one = serving()
    room = EVIL.replace(" ", r"\ ").replace("=", r"\=")  # as line protocol writes it
    times = range(NOW - 600 * S, NOW, 10 * S)
    rows = "".join(f"temp,room={room} celsius={11 + i % 3} {t}\n" for i, t in enumerate(times))
    assert one.write(rows).status_code == 204
    assert one.write(f"temp,room=hall celsius=40 {NOW - S}\n").status_code == 204
    window.resize(1280, 800)
    window.console()
    window.open(f"{one.url}/series?q=onerror&range=1h")
    window.click(".result-main")
    assert chart(window)["rows"] == 60
    window.wait_until(lambda: "expected (5 to 15 °C)" in window.text(".readout"), "the band in words")
    hall = quote('temp_celsius{room="hall"}')
    window.open(f"{one.url}/series?range=1h&name={hall}")
    window.wait_until(lambda: "critical" in window.text(".readout"), "the anomaly in words")
    for path in ("/", "/alarms", "/sources"):
        window.open(f"{one.url}{path}")
        window.wait_until(lambda: window.text("#live") == "Live", f"{path} to be live")
    assert window.console() == []
    window.open("about:blank")
    window.requests()
