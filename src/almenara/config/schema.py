"""The sections of `hub.toml` as classes: their fields are the keys, checked by the same machinery as plugin options."""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from almenara.analysis.calendar_sources import Sources
from almenara.config.dialects import Dweet, Queue
from almenara.plugin import options, registry
from almenara.plugin.options import Duration, Must, Range, Secret

VERSION = 1
NO_SECRET = Secret("")


def split_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:8642` or `[::1]:8642` as host and port. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise ValueError(f"{text!r} is no address; expected HOST:PORT such as 127.0.0.1:8642")
    return match[1] or match[2], int(match[3])


def is_loopback(host: str) -> bool:
    """Can only this machine reach a server that listens on this host?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(text: str) -> bool:
    try:
        split_address(text)
    except ValueError:
        return False
    return True


def _is_broker(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("mqtt", "mqtts") and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
        )
    except ValueError:
        return False


def _is_page(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:
        return False


def _is_zone(text: str) -> bool:
    try:
        zoneinfo.ZoneInfo(text)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return False
    return True


def _is_country(text: str) -> bool:
    if not text:
        return True
    try:
        import holidays
    except ImportError:  # an agent has no use for it
        return bool(re.fullmatch(r"[A-Z]{2}(-\w+)?", text))
    code, _, part = text.partition("-")
    known = holidays.list_supported_countries()
    return code in known and (not part or part in known[code])


def _is_weekly(text: str) -> bool:
    return bool(re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([01]\d|2[0-3]):[0-5]\d", text))


def is_topic_filter(text: str) -> bool:
    """Is this an MQTT topic filter: `#` only as the last level, `+` only as a whole level?"""
    levels = text.split("/")
    ends = all("#" not in level for level in levels[:-1]) and ("#" not in levels[-1] or levels[-1] == "#")
    return bool(text) and len(text.encode()) <= 65535 and ends and all("+" not in x or x == "+" for x in levels)


Address = Annotated[str, Must("HOST:PORT, such as 127.0.0.1:8642", _is_address)]
TopicFilter = Annotated[str, Must("an MQTT topic filter such as sensors/# or +/state", is_topic_filter)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where this hub stands.

    Options:
        name: What people call it; it heads pages and messages.
        url: Where people reach the dashboard, such as "https://hub.example"; messages link to it. Empty: no links.
        timezone: The zone whose days and hours seasons follow, such as "Europe/Madrid".
        country: Whose public holidays are judged as Sundays: a code such as "ES", or "ES-MD" for a part; empty: none.
    """

    name: str = ""
    url: Annotated[str, Must('"https://HOST" or "http://HOST:PORT"', lambda t: not t or _is_page(t))] = ""
    timezone: Annotated[str, Must('the name of a time zone, such as "Europe/Madrid"', _is_zone)] = "UTC"
    country: Annotated[str, Must('a country with known holidays, such as "ES" or "ES-MD"', _is_country)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """The dashboard, the API and writes over HTTP.

    Options:
        listen: Where to listen.
        token: What callers must send ("Authorization: Bearer ..."); needed to listen beyond this machine.
        max_body_mb: The largest body taken.
        max_waiting_mb: How much of all bodies may be held at a time; above it writes are answered with 503.
        dialects: Interfaces of others that are off unless they stand here: "dweet", "phant", "queue".
    """

    listen: Address = "127.0.0.1:8642"
    token: Secret = NO_SECRET
    max_body_mb: Annotated[float, Range(0.001, 1024)] = 16.0
    max_waiting_mb: Annotated[float, Range(1, 65_536)] = 256.0
    dialects: list[Literal["dweet", "phant", "queue"]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mqtt:
    """The broker that brings messages: one of ours, or yours.

    Options:
        enabled: false: no broker at all.
        listen: Where our own broker listens.
        url: A broker of yours, "mqtt://HOST:PORT" or "mqtts://HOST:PORT" (TLS); ours is then not started.
        username: Who may connect to our broker, or who we are at yours.
        password: The password that goes with it.
        ca_file: PEM file of the authority that signed your broker's certificate; empty: those of the system.
        cert_file: PEM file of our own certificate, where your broker asks for one.
        key_file: PEM file of its private key, without a passphrase; empty: it is in cert_file too.
        topics: Which topics to read.
    """

    enabled: bool = True
    listen: Address = "127.0.0.1:1883"
    url: Annotated[str, Must('"mqtt://HOST:PORT" or "mqtts://HOST:PORT"', lambda t: not t or _is_broker(t))] = ""
    username: str = ""
    password: Secret = NO_SECRET
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    topics: list[TopicFilter] = field(default_factory=lambda: ["#"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is kept, where, and how much of it.

    Options:
        folder: Everything the hub keeps; a relative path counts from where the hub is started.
        store: The store that keeps samples; its own options stand under [stores.NAME].
        retention: Samples and events older than this are deleted, and refused when they arrive; at least 1h; 0 = never.
        min_free_mb: With less free disk than this, writes are refused (507) until there is room again.
        series_limit: How many series there may be; rows of more are rejected and counted.
        new_series_per_minute: How many series may appear in a minute; rows of more are rejected and counted.
        future_s: How far ahead of the hub's clock a time may be; rows beyond are rejected and counted.
    """

    folder: Path = Path("almenara-data")
    store: str = "chdb"
    retention: Annotated[Duration, Range(0)] = 0.0
    min_free_mb: Annotated[float, Range(0)] = 200.0
    series_limit: Annotated[int, Range(1, 2_000_000_000)] = 1_000_000
    new_series_per_minute: Annotated[int, Range(0)] = 100_000
    future_s: Annotated[float, Range(0)] = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is to notice that this hub is gone, or does not judge any more: a service that misses its pings.

    Options:
        ping_url: Asked with GET while all is well: rows are stored and judged, messages get out. Empty: none.
        every: How often.
        ca_file: PEM file of the authority that signed that server's certificate; empty: those of the system.
    """

    ping_url: Secret = NO_SECRET
    every: Annotated[Duration, Range(1)] = 60.0
    ca_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """A report of the week: which alarms nobody ever acted on, which flap, what was held back, how budgets were kept.

    Options:
        notify: Names of [notifiers] that get it, whatever their match; empty: nobody.
        at: When, by the site's clocks.
    """

    notify: list[str] = field(default_factory=list)
    at: Annotated[str, Must('a day and a time such as "Mon 08:00"', _is_weekly)] = "Mon 08:00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Only for agents: what waits on disk until the hub's broker has taken it.

    Options:
        spool_mb: The most that may wait; beyond it the oldest go, counted.
    """

    spool_mb: Annotated[float, Range(1)] = 512.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """What the hub sends on MQTT besides anomalies and alarms.

    Options:
        judged: Selectors, such as '{city="Mumbai"}'; every judged row of their series is published.
    """

    judged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to raise an alarm.

    Options:
        expr: A comparison such as 'cpu_usage{host="a"} > 90' or 'anomaly_score > 1'. 'stale_gaps > 10': there was no
            row for more than ten times the series' own usual gap. Or any PromQL expression, each series of whose answer
            is alarming; 'rule("NAME")' in it stands for the firing alarms of another rule.
        for: How long it must hold before the alarm fires.
        keep_firing_for: How long it must be over before the alarm is resolved.
        every: How often an expression is evaluated; 0: every minute, less often where it takes long. A plain comparison
            is judged with each row, unless this is said.
        within: Alarming is also what will be so within this time, by its trend.
        over: The history that the trend is fitted to; 0: twice as long as within.
        no_data: What it means that a series has no data: "keep", the alarm is kept and says so; "alarm", it is
            alarming; "ok", it is fine; "ignore", nothing.
        schedule: When the rule holds, such as ["Mon-Fri 08:00-18:00"], by the site's clocks; empty: always.
        only_on: Names of [calendars]: it holds only on their days.
        not_on: Names of [calendars]: it does not hold on their days.
        severity: How bad it is; without it, the anomaly score says.
        labels: Added to the labels of the alarm.
        annotations: Texts for people, such as summary and runbook. "{{ $labels.host }}" and "{{ $value | humanize }}"
            in them, and in labels, are filled in as in Prometheus.
    """

    expr: str
    for_: Annotated[Duration, Range(0)] = 0.0
    keep_firing_for: Annotated[Duration, Range(0)] = 0.0
    every: Annotated[Duration, Range(0)] = 0.0
    within: Annotated[Duration, Range(0)] = 0.0
    over: Annotated[Duration, Range(0)] = 0.0
    no_data: Literal["keep", "alarm", "ok", "ignore"] = "keep"
    schedule: list[str] = field(default_factory=list)
    only_on: list[str] = field(default_factory=list)
    not_on: list[str] = field(default_factory=list)
    severity: Literal["warning", "minor", "major", "critical"] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incidents:
    """Which alarms people are told of as one incident, besides those of one series.

    Options:
        group_by: Labels; alarms with equal ones that fire together are one incident, such as ["site"].
        window: How far apart alarms may fire and still fire together; counted from the first and from the latest.
        correlate: Whether alarms of series whose residuals move together, as measured before, are one incident.
        residuals_mb: The most memory for residuals, 720 bytes a series; of series beyond it only anomalies that began
            together, and labels, count.
    """

    group_by: list[str] = field(default_factory=list)
    window: Annotated[Duration, Range(0, 86_400)] = 300.0
    correlate: bool = True
    residuals_mb: Annotated[float, Range(0, 65_536)] = 64.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What counts as an anomaly of some series, whatever the detector.

    Options:
        match: Which series, such as '{city="Mumbai"}'; empty: all. Of several that fit, the first counts.
        detection_direction: Which side of what is expected counts.
        min_dev_from_expected: A value nearer than this to what is expected is no anomaly; a list of two for values
            below and above it.
        min_rel_dev_from_expected: The same in percent of what is expected.
        data_range: The lowest and the highest possible value, such as [0, 100]; one outside is an anomaly.
        anomaly_score_outside_data_range: The least score of such a value.
        rules: Tables of conditions such as "actual < 5" (of actual, typical, diff_from_typical; all must hold) and
            actions: "skip_result", it is no anomaly; "skip_model_update", it is neither judged nor learned.
    """

    match: str = ""
    detection_direction: Literal["both", "above_expected", "below_expected"] = "both"
    min_dev_from_expected: float | list[float] = 0.0
    min_rel_dev_from_expected: float | list[float] = 0.0
    data_range: list[float] | None = None
    anomaly_score_outside_data_range: Annotated[float, Range(1)] = 1.01
    rules: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many anomalies a week are welcome.

    Options:
        match: Of which series, all together, such as '{city="Mumbai"}'; empty: all. Of several that fit a series, the
            first counts.
        per_week: At most about so many anomalies a week begin.
    """

    match: str = ""
    per_week: Annotated[float, Range(1e-6)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Stored rows that go on to another system, each at least once.

    Options:
        to: The name of one of [transports], or "mqtt" for the broker that the hub reads.
        codec: The format: a codec's name, or a table { plugin = "NAME", ... } with options of the codec.
        match: Which series, such as '{city="Mumbai"}'; empty: all but those that the hub makes itself.
        topic: The topic, where the link has one; `{__name__}` and `{LABEL}` in it are filled in, and rows of different
            topics go in payloads of their own. To "mqtt" it goes behind "almenara/route/NAME/", which no hub reads.
        rename: Other names for metrics, { "old" = "new" }.
        labels: Labels to add.
        relabel: Steps of Prometheus' relabel_config, tables with source_labels, regex, target_label and so on.
        rows: The most rows of one payload.
    """

    to: str
    codec: Any = "influx"
    match: str = ""
    topic: str = ""
    rename: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    relabel: list[dict[str, Any]] = field(default_factory=list)
    rows: Annotated[int, Range(1, 1_000_000)] = 5000


#: A table of [calendars]: its keys are the sources of a calendar.
Calendar = Sources


@dataclass(frozen=True, slots=True)
class Plugin:
    """One configured plugin: `name` as the file calls it, `plugin` its name among the installed ones of its kind.

    values: the constructor's arguments, checked. match: a selector text, for kinds that have one; empty = everything.
    codec: for a transport, what reads its payloads; None: what the link itself says, or their topic.
    """

    kind: str
    name: str
    plugin: str
    values: Mapping[str, Any] = field(default_factory=dict)
    match: str = ""
    where: str = ""
    codec: Plugin | None = None

    def load(self) -> Any:
        """Its class. Raises PluginError, MissingExtra."""
        return registry.load(self.kind, self.plugin)

    def build(self, **given: Any) -> Any:
        """A new instance. `given`: what the house gives (clock, folder, timezone), passed on where the constructor
        takes it and the file does not say it."""
        return options.construct(self.load(), self.values, self.where, **given)


#: Sections that are one table, and their classes.
SECTIONS: dict[str, Any] = {
    "site": Site, "incidents": Incidents, "http": Http, "mqtt": Mqtt, "data": Data, "publish": Publish, "agent": Agent,
    "watch": Watch, "noise": Noise,
    "dweet": Dweet, "queue": Queue,
}  # fmt: skip

#: Sections of named tables with a plugin each: (kind, the key that chooses the plugin, whether `match` is a key).
#: Without that key the table's own name is the plugin's.
PLUGINS: dict[str, tuple[str, str, bool]] = {
    "topics": ("codec", "codec", False),
    "codecs": ("codec", "plugin", False),
    "transports": ("transport", "plugin", False),
    "collectors": ("collector", "plugin", False),
    "detectors": ("detector", "plugin", True),
    "notifiers": ("notifier", "plugin", True),
    "stores": ("store", "plugin", False),
}

#: Keys of a plugin's table that are not the plugin's; no plugin may have an option of these names.
RESERVED = frozenset({"plugin", "codec", "match"})
