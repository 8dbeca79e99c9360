"""A config file: every mistake at once, each with its line, in the user's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from almenara.config import Config, Rule, is_loopback, load, split_address
from almenara.model.errors import ConfigError, PluginError
from almenara.plugin import registry
from almenara.plugin.options import Range, Secret

Write = Callable[[str], Path]


class Plant:
    """A plugin to configure.

    Options:
        url: Where it is.
        qos: Delivery promise.
        keepalive_s: Time between two signs of life.
        password: What it asks for.
    """

    def __init__(
        self,
        *,
        url: str = "mqtt://localhost",
        qos: Annotated[int, Range(0, 2)] = 1,
        keepalive_s: float = 60.0,
        password: Secret = Secret(""),
        folder: Path | None = None,
    ) -> None:
        self.said = (url, qos, keepalive_s, folder)


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind has one plugin, `plant`."""

    def give(kind: str, name: str) -> type:
        if name in ("plant", "json"):
            return Plant
        raise PluginError(f"no {kind} is called {name!r}; installed: plant")

    monkeypatch.setattr(registry, "load", give)
    monkeypatch.setattr(registry, "names", lambda kind: ("plant", "chdb"))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def give(text: str) -> Path:
        path = Path("hub.toml")
        path.write_text(text)
        return path

    return give


def mistakes(path: Path, **overrides: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, {k.replace("__", "."): v for k, v in overrides.items()})
    return [str(p) for p in caught.value.problems]


def test_no_file_gives_the_defaults() -> None:
    config = load()
    assert config.http.listen == "127.0.0.1:8642"
    assert config.mqtt.listen == "127.0.0.1:1883"
    assert config.data.folder == Path("almenara-data")
    assert config.rules == {
        "anomaly": Rule(expr="anomaly_score > 1", for_=300.0), "stale": Rule(expr="stale_gaps > 10"),
    }  # fmt: skip
    assert config.collectors["host"].plugin == "host"
    assert config.store.plugin == "chdb"
    assert config == Config()


def test_a_full_file_is_read(write: Write) -> None:
    config = load(
        write("""
version = 1
site = { name = "Plant 7", timezone = "Asia/Kolkata" }
[mqtt]
url = "mqtt://broker:1883"
username = "hub"
password = "x"
[data]
retention = "90d"
store = "cold"
[topics."sensors/#"]
codec = "plant"
qos = 2
[collectors.other]
plugin = "plant"
keepalive_s = "1m"
[detectors.plant]
match = '{city="Mumbai"}'
[rules.hot]
expr = 'temperature{city="Mumbai"} > 40'
for = "5m"
keep_firing_for = 60
severity = "major"
labels = { team = "plant" }
annotations.summary = "too hot"
[notifiers.plant]
password = "s3cret"
[stores.cold]
plugin = "plant"
""")
    )
    assert config.site.timezone == "Asia/Kolkata"
    assert config.data.retention == 90 * 86400
    assert config.topics["sensors/#"].values == {"qos": 2}
    assert config.collectors["other"].build(folder=Path("x"), clock=3).said == ("mqtt://localhost", 1, 60.0, Path("x"))
    assert config.detectors["plant"].match == '{city="Mumbai"}'
    assert (config.rules["hot"].for_, config.rules["hot"].keep_firing_for) == (300.0, 60.0)
    assert config.rules["hot"].annotations == {"summary": "too hot"}
    assert config.store.plugin == "plant"
    assert "mqtt.url" in config.given
    assert "mqtt.listen" not in config.given
    assert "s3cret" not in repr(config)


def test_every_mistake_is_told_at_once_with_its_line(write: Write) -> None:
    path = write("""\
version = 1
[site]
timezone = "Mars/Olympus"
country = "Spain"
[http]
listen = "8642"
tokn = "x"
[transports.plant]
url = "mqtt://plant"

topics = []
qos = 7
keepalive = 5
[colectors.host]
[rules.hot]
for = "soon"
severity = "bad"
[collectors.nothere]
""")
    assert mistakes(path) == [
        'hub.toml:3: site.timezone: must be the name of a time zone, such as "Europe/Madrid"; got "Mars/Olympus"',
        'hub.toml:4: site.country: must be a country with known holidays, such as "ES" or "ES-MD"; got "Spain"',
        'hub.toml:6: http.listen: must be HOST:PORT, such as 127.0.0.1:8642; got "8642"',
        "hub.toml:7: http.tokn: unknown option; did you mean token?",
        "hub.toml:11: transports.plant.topics: unknown option; known: url, qos, keepalive_s, password",
        "hub.toml:12: transports.plant.qos: must be 0, 1 or 2; got 7",
        "hub.toml:13: transports.plant.keepalive: unknown option; did you mean keepalive_s?",
        "hub.toml:14: colectors: unknown section; did you mean collectors?",
        "hub.toml:15: rules.hot.expr: is missing; expected a text; "
        "A comparison such as 'cpu_usage{host=\"a\"} > 90' or 'anomaly_score > 1'. 'stale_gaps > 10': there was no row "
        "for more than ten times the series' own usual gap. Or any PromQL expression, each series of whose answer is "
        "alarming; 'rule(\"NAME\")' in it stands for the firing alarms of another rule.",
        'hub.toml:16: rules.hot.for: must be a duration such as "30s", "5m" or "1h30m"; got "soon"',
        'hub.toml:17: rules.hot.severity: must be "warning", "minor", "major" or "critical"; got "bad"',
        "hub.toml:18: collectors.nothere: no collector is called 'nothere'; installed: plant, "
        'or say which with plugin = "..."',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 1\n[site\n", "hub.toml:2: is no TOML: expected ']' at the end of a table declaration, at column 6"),
        ("version = 1\na = [1,\n", "hub.toml:2: is no TOML: "),
        ("version = 1\na = 1\na = 2\n", "hub.toml:3: is no TOML: cannot overwrite a value, at column 6"),
        ("", "hub.toml:1: version: is missing; expected 1; write version = 1 at the top"),
        ("version = 2", "hub.toml:1: version: must be 1; got 2; a newer almenara wrote this file"),
        ("version = true", "hub.toml:1: version: must be 1; got true"),
        ("version = 1\nsite = 3", "hub.toml:2: site: must be a table; got 3; write [site]"),
        ("version = 1\nrules = 3", "hub.toml:2: rules: must be tables, one for each name; got 3; write [rules.NAME]"),
        ("version = 1\n[[rules]]\nexpr=''", "hub.toml:2: rules: must be tables, one for each name; got a list"),
        ("version = 1\nrules.a = 3", "hub.toml:2: rules.a: must be a table; got 3; write [rules.NAME]"),
        ("version = 1\n[collectors]\nhost.plugin = 3", "hub.toml:3: collectors.host.plugin: must be the name of a"),
        (
            "version = 1\n[data]\nretention = '30m'",
            "hub.toml:3: data.retention: must be 0 (nothing is ever deleted) or at least 1h; got 30m",
        ),
        ("version = 1\n[data]\nstore = 'x'", 'hub.toml:3: data.store: no store is called "x"; installed: plant, chdb'),
        ("version = 1\n[topics.'a#']", 'hub.toml:2: topics."a#": must be an MQTT topic filter'),
        ("version = 1\n[mqtt]\ntopics = ['a', 'b#']", "hub.toml:3: mqtt.topics[1]: must be an MQTT topic filter"),
        ("version = 1\n[mqtt]\nurl = 'http://x'", 'hub.toml:3: mqtt.url: must be "mqtt://HOST:PORT" or'),
        ("version = 1\n[http]\nlisten = '0.0.0.0:8642'", "hub.toml:3: http.listen: 0.0.0.0:8642 can be reached from"),
        ("version = 1\n[mqtt]\nlisten = '[::]:1883'", "hub.toml:3: mqtt.listen: [::]:1883 can be reached from other"),
        (
            "version = 1\n[mqtt]\nlisten = '[::1]:1883'\nurl = 'mqtt://b'",
            "hub.toml:3: mqtt.listen: does not go with url",
        ),
        ("version = 1\n[detectors.plant]\nmatch = 3", "hub.toml:3: detectors.plant.match: must be a selector"),
        ("a = " + "[" * 5000, "hub.toml: is nested too deeply"),
    ],
)
def test_a_wrong_file_is_named(write: Write, text: str, message: str) -> None:
    (found,) = mistakes(write(text))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("section", "key", "text"),
    [
        ("rules.hot", "expr", "temperature >"),
        ("rules.hot", "expr", "stale_gaps < 10"),
        ("detectors.plant", "match", "{city="),
        ("notifiers.plant", "match", "{city="),
        ("publish", "judged", ["{a='b'}", "{city="]),
    ],
)
def test_expressions_are_checked(write: Write, section: str, key: str, text: Any) -> None:
    from almenara.plugin.options import render

    (found,) = mistakes(write(f"version = 1\n[{section}]\n{key} = {render(text)}"))
    assert found.startswith(f"hub.toml:3: {section}.{key}")
    assert len(found) > len(f"hub.toml:3: {section}.{key}: ")


def test_a_file_that_cannot_be_read(write: Write) -> None:
    assert mistakes(Path("no.toml")) == [
        "no.toml: cannot be read: No such file or directory; almenara init --output no.toml writes one"
    ]
    path = write("")
    path.write_bytes(b"version = 1\nname = '\xff'\n")
    assert mistakes(path) == ["hub.toml:2: is not UTF-8 text (byte 0xff)"]
    path.write_bytes(b"#" * 4_000_001)
    assert mistakes(path) == ["hub.toml: is larger than 4000000 bytes"]


def test_a_byte_order_mark_is_no_mistake(write: Write) -> None:
    path = write("")
    path.write_bytes(b"\xef\xbb\xbfversion = 1\n")
    assert load(path).path == path


def test_the_command_line_wins_and_its_mistakes_are_its_own(write: Write) -> None:
    path = write("version = 1\n[http]\nlisten = '127.0.0.1:1'\n")
    config = load(path, {"http.listen": "127.0.0.1:2", "data.folder": None, "mqtt.enabled": False})
    assert config.http.listen == "127.0.0.1:2"
    assert not config.mqtt.enabled
    assert {"http.listen", "mqtt.enabled"} == config.given
    assert mistakes(path, http__listen="x") == [
        'command line: http.listen: must be HOST:PORT, such as 127.0.0.1:8642; got "x"'
    ]


def test_beyond_loopback_is_fine_with_a_token(write: Write) -> None:
    config = load(write("version = 1\n[http]\nlisten = '0.0.0.0:1'\ntoken = 'x'\n[mqtt]\nenabled = false"))
    assert config.http.token == "x"


def test_an_empty_section_means_none(write: Write) -> None:
    config = load(write("version = 1\n[rules]\n[collectors]\n"))
    assert config.rules == {}
    assert config.collectors == {}
    assert config.detectors


def test_a_mistake_says_what_was_found_and_expected(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write("version = 1\n[mqtt]\nenabled = 'no'\n"))
    (mistake,) = caught.value.problems
    assert (mistake.line, mistake.key, mistake.found, mistake.expected) == (3, "mqtt.enabled", '"no"', "true or false")


def test_addresses() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("localhost:0") == ("localhost", 0)
    assert is_loopback("127.3.2.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")
    for wrong in ("", "80", ":80", "a:99999", "::1:80", "a:b"):
        with pytest.raises(ValueError, match="no address"):
            split_address(wrong)


def test_a_route_names_a_transport_and_its_relabel_steps(write: Write) -> None:
    config = load(
        write("""
version = 1
[transports.plant]
[routes.copy]
to = "plant"
codec = { plugin = "json", qos = 2 }
match = '{city="Mumbai"}'
rename = { temp = "temperature" }
[[routes.copy.relabel]]
source_labels = ["city"]
regex = "(M.*)"
target_label = "town"
""")
    )
    route = config.routes["copy"]
    assert (route.to, route.codec.plugin, route.codec.values) == ("plant", "json", {"qos": 2})
    assert route.relabel == [{"source_labels": ["city"], "regex": "(M.*)", "target_label": "town"}]


def test_mistakes_in_a_route_are_told_with_their_line(write: Write) -> None:
    path = write("""\
version = 1
[mqtt]
enabled = false
[routes.copy]
to = "mqtt"
codec = "plant"
match = "{"
[[routes.copy.relabel]]
regex = "("
target_label = "town"
[[routes.copy.relabel]]
action = "kepp"
""")
    found = mistakes(path)
    assert any(p.startswith('hub.toml:5: routes.copy.to: no transport is called "mqtt"') for p in found)
    assert any(p.startswith("hub.toml:7: routes.copy.match: ") for p in found)
    assert any(p.startswith("hub.toml:9: routes.copy.relabel[0].regex: is no regular expression") for p in found)
    assert any(p.startswith("hub.toml:12: routes.copy.relabel[1].action: must be ") for p in found)


def test_calendars_are_worked_out_and_every_mistake_is_told(write: Write) -> None:
    text = """version = 1
[calendars.payday]
rule = "last busines day of month"
[calendars.vacations]
dates = [2026-08-01, "2026-08-40"]
match = '{site='
[calendars.shifts]
file = "no.ics"
contry = "ES"
[calendars.empty]
[calendars."a:b"]
dates = [2026-01-01]
"""
    assert [found.partition("; ")[0].partition(": must")[0] for found in mistakes(write(text))] == [
        "hub.toml:3: calendars.payday.rule",
        "hub.toml:5: calendars.vacations.dates[1]",
        "hub.toml:6: calendars.vacations.match: column 7 of '{site=': found the end, expected a quoted text",
        "hub.toml:9: calendars.shifts.contry: unknown option",
        "hub.toml:10: calendars.empty: says no day",
        'hub.toml:11: calendars."a:b"',
    ]
    text = text.replace("busines ", "business ").replace("40", "15").replace("site=", 'site="a"}')
    text = text.replace('file = "no.ics"\ncontry', "country").partition("[calendars.empty]")[0]
    calendars = load(write(text)).calendars
    assert calendars["vacations"].dates == ["2026-08-01", "2026-08-15"]
    assert calendars["vacations"].match == '{site="a"}'
    assert list(calendars) == ["payday", "vacations", "shifts"]
