"""The page of alarms in a real browser, over a real hub with a real book: people see, take on, silence and split."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.alarm_hub import AlarmHub

from almenara.alarm.rules import Rule
from almenara.detectors.seasonal import Seasonal
from almenara.model.time import NS
from almenara.pipeline.judge import Watch
from almenara.query import parse_selector
from almenara.testing.browser import Browser

pytestmark = pytest.mark.real("chromium", "chromium-driver")

SITES = {"madrid": "critical", "lima": "major", "oslo": "warning", "riga": "minor", "turin": "critical"}
FIRST = ("madrid", "lima", "oslo")
#: The sites of the open incidents, in the order of the page.
ORDER = """
  const open = [...document.querySelectorAll(".incidents .incident.open")];
  return open.map((one) => /site\\s+(\\w+)/.exec(one.innerText)[1]);
"""
DRAWN = "return document.querySelector('.incident-chart').chart?.sources.line.get('x').length > 100"


def fire(hub: AlarmHub, site: str, *pumps: str, celsius: float = 95) -> None:
    hub.write("\n".join(f"pump,host={site},pump={p},site={site} celsius={celsius} {time.time_ns()}" for p in pumps))


def until(condition: Any, what: str, within_s: float = 60) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def get(hub: AlarmHub, path: str) -> Any:
    return hub.client.get(f"/api/v1/{path}").json()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlarmHub]:
    """Three incidents, 1 to 3, of three, two and one alarm; rows of the last half an hour before them."""
    rules = [Rule(f"hot_{site}", f'pump_celsius{{site="{site}"}} > 90', severity=how) for site, how in SITES.items()]
    watches = [Watch("seasonal", parse_selector('{__name__="pump_celsius"}'), Seasonal)]
    one = AlarmHub(tmp_path_factory.mktemp("hub") / "data", rules, ("mail", "phone"), watches=watches)
    now = time.time_ns()
    for site in FIRST:
        times = range(now - 1800 * NS, now - 5 * NS, 10 * NS)
        one.write("\n".join(
            f"pump,host={site},pump=P{n},site={site} celsius={60 + 4 * math.sin(i / 20) + n * (i % 7) / 9:.3f} {t}"
            for n in (1, 2, 3) for i, t in enumerate(times)
        ))  # fmt: skip
    one.client.get("/api/v1/view", params={"series": "pump_celsius", "start": 1, "end": 2})
    for number, site in enumerate(FIRST, 1):
        fire(one, site, *("P1", "P2", "P3")[: 4 - number])

        def made(n: int = number) -> bool:
            return [i["size"] for i in get(one, "incidents")] == [1, 2, 3][3 - n :]

        until(made, f"the incident at {site}")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with Browser(1280, 900) as one:
        yield one


@pytest.fixture
def page(window: Browser) -> Iterator[Browser]:
    window.resize(1280, 900)
    window.console()
    yield window
    assert window.console() == []


def opened(hub: AlarmHub, page: Browser, id: int) -> None:
    page.open(f"{hub.url}/alarms?incident={id}")
    page.find(f"[data-incident='{id}'] .timeline li", 60)
    page.find(f"[data-incident='{id}'] .members li", 60)


def fill(page: Browser, name: str, text: str) -> None:
    page.execute("document.querySelector(arguments[0]).value = ''", f".order [name={name}]")
    page.type_text(f".order [name={name}]", text)


def test_the_worst_incident_is_on_top_and_a_link_opens_the_one_it_names(hub: AlarmHub, page: Browser) -> None:
    page.open(f"{hub.url}/alarms")
    page.find(".incident")
    assert page.execute(ORDER) == ["madrid", "lima", "oslo"]
    assert (page.text(".block-head h2"), page.text("#alarm-count")) == ("3 open incidents", "3")
    assert page.find_all(".incident.critical .mark.critical"), "severity has a shape besides its colour"
    opened(hub, page, 2)
    assert page.execute("return [...document.querySelectorAll('.incident-head[aria-expanded=true]')].length") == 1
    told = page.text("[data-incident='2']")
    assert "2 alarms in one incident" in told
    assert "2 alarms fired" in told
    assert "about to be told" in told
    page.wait_until(lambda: page.execute(DRAWN), "the graph of the strongest", 60)


def test_an_incident_is_taken_on_and_given_back_by_keyboard(hub: AlarmHub, page: Browser) -> None:
    opened(hub, page, 1)
    page.execute("document.querySelector('[data-act=Acknowledge]').focus()")
    page.type_text("[data-act=Acknowledge]", "\ue007")  # Enter
    page.wait_until(lambda: page.execute("return document.activeElement.name") == "who", "the focus in the form")
    fill(page, "who", "Ana")
    page.type_text(".order [name=note]", "on my way\ue007")
    page.wait_until(lambda: "on my way" in page.text(".acts-note"), "who took it on")
    taken = get(hub, "incidents/1")["acknowledgement"]
    assert (taken["who"], taken["note"], taken["until_ms"]) == ("Ana", "on my way", None)
    page.wait_until(lambda: "Ana took it on" in page.text(".timeline"), "the line")
    assert page.text(".incident.critical .tag.taken") == "Ana"
    page.click("[data-act='Give back']")
    assert page.execute("return document.querySelector('.order [name=who]').value") == "Ana", "asked for once"
    page.click(".order .button.primary")
    page.wait_until(lambda: "Ana gave it back" in page.text(".timeline"), "the line")
    assert get(hub, "incidents/1")["acknowledgement"] is None


def test_a_silence_says_what_it_holds_back_before_it_is_made(hub: AlarmHub, page: Browser) -> None:
    opened(hub, page, 3)
    page.click("[data-act=Silence]")
    page.wait_until(lambda: "1 open alarm is held back" in page.text(".preview"), "the preview", 60)
    fill(page, "match", '{site=~"oslo|lima"}')
    page.wait_until(lambda: "3 open alarms are held back" in page.text(".preview"), "the preview of another one", 60)
    fill(page, "who", "Ben")
    page.type_text(".order [name=comment]", "new seals")
    page.click(".order .button.primary")
    page.wait_until(lambda: "silence of Ben until" in page.text(".acts-note"), "who silenced it")
    (made,) = get(hub, "silences")
    assert (made["who"], made["comment"], made["stage"]) == ("Ben", "new seals", "active")
    assert made["ends_ms"] - made["starts_ms"] == pytest.approx(3_600_000, abs=1000)
    page.click("[data-view=silences]")
    page.wait_until(lambda: "new seals" in page.text(".silences"), "the silence in the list")
    page.click(".silences li .button")
    page.click(".silences .order .button.primary")
    page.wait_until(lambda: "Nothing is silenced" in page.text("main"), "the end of it")
    assert get(hub, "silences")[0]["stage"] == "expired"


def test_a_silence_can_be_planned(hub: AlarmHub, page: Browser) -> None:
    page.open(f"{hub.url}/alarms?view=silences&match=%7Bsite%3D%22quito%22%7D")
    page.wait_until(lambda: "No open alarm is held back" in page.text(".preview"), "the preview", 60)
    page.execute("document.querySelector('[name=starts]').value = '2099-01-02T03:00'")
    page.execute("document.querySelector('.order [value=\"4h\"]').click()")
    fill(page, "who", "Ben")
    page.click(".order .button.primary")
    page.wait_until(lambda: "for 4 h" in page.text("main"), "the planned silence")
    (planned,) = (one for one in get(hub, "silences") if one["stage"] == "pending")
    assert hub.client.delete(f"/api/v1/silence/{planned['id']}").status_code == 200


def test_an_alarm_is_split_off_and_joined_again(hub: AlarmHub, page: Browser) -> None:
    opened(hub, page, 2)
    page.click("[data-incident='2'] .members li:last-child .button")
    page.click(".order .button.primary")
    page.wait_until(lambda: "One alarm" in page.text("[data-incident='2']"), "one alarm less")
    new = get(hub, "incidents")[0]
    assert new["size"] == 1
    page.find(f"[data-incident='{new['id']}']")
    page.click("[data-act=Join]")
    page.execute("document.querySelector('.order select').value = arguments[0]", str(new["id"]))
    page.click(".order .button.primary")
    page.wait_until(lambda: "2 alarms in one incident" in page.text("[data-incident='2']"), "both alarms again")
    page.wait_until(lambda: f"incident {new['id']} joined to it" in page.text(".timeline"), "the line")


def test_what_is_refused_is_said_where_it_was_ordered(hub: AlarmHub, page: Browser) -> None:
    opened(hub, page, 1)
    page.click("[data-act=Silence]")
    page.wait_until(lambda: "held back" in page.text(".preview"), "the preview", 60)
    fill(page, "match", "{")
    page.wait_until(lambda: "held back" not in page.text(".preview"), "what is wrong, while it is typed")
    page.click(".order .button.primary")
    page.wait_until(lambda: page.text(".order-problem"), "what is wrong")
    refused = []
    page.wait_until(lambda: refused.extend(page.console()) or len(refused) == 2, "both refusals in the console")
    assert all("400" in line for line in refused)


def test_nothing_moves_under_the_pointer_when_incidents_come(hub: AlarmHub, page: Browser) -> None:
    page.open(f"{hub.url}/alarms")
    page.find(".incident")
    page.hover(".incident.open .incident-head")
    before = page.execute("return document.querySelector('.incident.open').getBoundingClientRect().top")
    fire(hub, "turin", "P1")
    page.wait_until(lambda: "turin" in page.execute(ORDER), "the new incident, without a reload", 60)
    assert page.execute(ORDER)[-1] == "turin"
    assert page.execute("return document.querySelector('.incident.open').getBoundingClientRect().top") == before
    page.hover("h1")
    page.wait_until(lambda: page.execute(ORDER)[0] == "turin", "the worst and newest on top once nobody points")
    fire(hub, "turin", "P1", celsius=20)
    page.wait_until(lambda: "turin" not in page.execute(ORDER), "its end", 60)
    page.wait_until(lambda: "ended" in page.text(".incident.over"), "the incident among the earlier ones")


def test_messages_and_problems_are_listed(hub: AlarmHub, page: Browser) -> None:
    hub.on_loop(lambda: hub.hub.problems.update({"notifiers.phone": "the token is refused"}))
    try:
        page.open(f"{hub.url}/alarms?view=sent")
        page.find(".sent li")
        assert "mail · firing · incident #1" in page.text(".sent")
        page.wait_until(lambda: page.text("#problems span") == "1 problem", "the word in the header")
        assert "notifiers.phone: the token is refused" in page.text(".problems")
        page.click("[data-outcome='given up']")
        page.wait_until(lambda: "No messages" in page.text("main"), "nothing given up")
        page.click("[data-outcome=waiting]")
        page.click(".sent a")
        page.find(".incident-head[aria-expanded=true]")
    finally:
        hub.on_loop(hub.hub.problems.clear)


def test_what_held_a_message_back_is_one_entry_for_all_who_were_not_told(hub: AlarmHub, page: Browser) -> None:
    silence = {"match": '{site="riga"}', "duration": "1h", "who": "Ben", "comment": "new seals"}
    made = hub.client.post("/api/v1/silences", json=silence).json()
    fire(hub, "riga", "P1")
    id = until(lambda: [i for i in get(hub, "incidents") if 'site="riga"' in str(i["members"])], "the incident")[0][
        "id"
    ]
    opened(hub, page, id)
    page.wait_until(lambda: "mail, phone not told" in page.text(".timeline"), "who was not told")
    assert "Silence of Ben until" in page.text(".timeline")
    assert "silenced" in page.text(f"[data-incident='{id}'] .alarm-foot")
    hub.client.delete(f"/api/v1/silence/{made['id']}")
    page.wait_until(lambda: "about to be told" in page.text(".timeline"), "people to be told", 60)
    fire(hub, "riga", "P1", celsius=20)
    page.wait_until(lambda: "It is over." in page.text(".acts-note"), "its end", 60)
    page.wait_until(lambda: "Resolved" in page.text(".timeline"), "the last entry")


def test_an_incident_that_is_not_there_is_said(hub: AlarmHub, page: Browser) -> None:
    page.open(f"{hub.url}/alarms?incident=4711")
    page.wait_until(lambda: "there is no incident 4711" in page.text("main"), "the answer")
    assert any("404" in line for line in page.console())


@pytest.mark.parametrize("path", ["/alarms?incident=1", "/alarms?view=silences", "/alarms?view=sent", "/"])
def test_on_a_phone_nothing_is_too_wide_or_too_small(hub: AlarmHub, page: Browser, path: str) -> None:
    page.resize(390, 844, dark=True)
    page.open(f"{hub.url}{path}")
    page.find(".timeline li, .block-head .button.primary, .sent li, a.incident", 60)
    if "incident" in path:
        page.click("[data-act=Silence]")
    wide, seen = page.execute("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= seen
    small = page.execute(
        "return [...document.querySelectorAll('button, summary, nav a, input:not([type=radio])')]"
        ".filter((e) => e.offsetParent && e.getBoundingClientRect().height < 40).map((e) => e.outerHTML)"
    )
    assert small == [], "what is touched is at least 40 px high"


def test_curves_leave_room_for_orders(hub: AlarmHub, page: Browser) -> None:
    page.open(f"{hub.url}/sources")
    asked = page.execute("""
        const api = await import("/static/js/api.js"), real = fetch, seen = [];
        const never = (url) => (seen.push(url), new Promise(() => {}));
        window.fetch = (url, options) => (url.includes("view?") ? never(url) : real(url, options));
        for (let i = 0; i < 10; i++) api.view(`curve_${i}`, 1, 2, 100);
        const order = await api.silences().then(() => "answered");
        return [seen.length, order];
    """)
    assert asked == [3, "answered"]
