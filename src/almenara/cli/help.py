"""`almenara help TOPIC`: what to write into the configuration of other systems so that they send to a hub."""

from __future__ import annotations

from almenara.cli import _nagios, _thresholds
from almenara.cli.terminal import show_rows
from almenara.model.errors import AlmenaraError, MissingExtra
from almenara.model.series import Series, encode_key

TOPICS = {"nagios": "perfdata of Nagios, Naemon and Icinga, and their thresholds as rules"}


def run(topic: str, *, system: str, spool: str, rules: bool, url: str, token: str) -> None:
    """Print a topic, or which there are. Raises AlmenaraError."""
    if not topic:
        show_rows(["topic", "what it is about"], [list(one) for one in TOPICS.items()])
    elif topic not in TOPICS:
        raise AlmenaraError(f"no topic is called {topic!r}; there are {', '.join(TOPICS)}")
    elif rules:
        print(thresholds(url, token))
    elif system not in _nagios.FILES:
        raise AlmenaraError(f"--for: found {system!r}, expected one of {', '.join(_nagios.FILES)}")
    else:
        print(_nagios.text(system, spool), end="")


def thresholds(url: str, token: str) -> str:
    """Rules from the thresholds that a hub saw. Raises AlmenaraError where there are none."""
    try:
        from almenara.client import connect
    except ModuleNotFoundError as error:
        raise MissingExtra("almenara help nagios --rules", "notebook") from error
    with connect(url, token or None) as hub:
        found = hub._ask("/api/v1/query", {"query": _thresholds.QUERY})["result"]
    if not found:
        raise AlmenaraError(f"{url}: this hub saw no thresholds within a day; does perfdata arrive?")
    return _thresholds.rules((_series(one["metric"]), float(one["value"][1])) for one in found)


def _series(metric: dict[str, str]) -> Series:
    labels = {k: v for k, v in metric.items() if k != "__name__"}
    return Series.from_key(encode_key(metric["__name__"], labels))
