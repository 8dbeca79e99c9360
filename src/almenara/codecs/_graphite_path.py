"""Graphite paths to series: dots to underscores, or by templates in the manner of InfluxDB and Telegraf.

    servers.web1.cpu.load                                    servers_web1_cpu_load
    servers.web1.cpu.load   with  .host.measurement*         cpu_load{host="web1"}
    disk.used;datacenter=dc1;rack=a1                         disk_used{datacenter="dc1", rack="a1"}

Templates: https://docs.influxdata.com/telegraf/v1/data_formats/template-patterns/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from almenara.model.series import MAX_KEY_BYTES, MAX_LABELS, encode_key, label_name, metric_name

#: What can be wrong with a line. The first five are seen by `_graphite_kernel`, the others when a path is learned.
NO_VALUE, NO_TIME, NOT_FINITE, TIME_RANGE, KEY_TOO_LONG = 1, 2, 3, 4, 5
BAD_PATH, NOT_UTF8, TOO_MANY_LABELS = 6, 7, 8
CODES = 9

#: What `encode` writes for bytes that a tag cannot hold, and `decode` reads back.
_ESCAPED = re.compile(r"%(09|0A|0D|0B|0C|20|25|3B|7E|85|A0)")
_UNFIT = re.compile(r"[\t\n\r\x0b\x0c %;~]")


class BadPath(ValueError):
    """A path that no series can have. `code` is one of those above."""

    def __init__(self, code: int, detail: str):
        self.code = code
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Template:
    """What each part of a path between two dots means, for paths that `filter` holds.

    parts: "" leaves a part out, `measurement` and `field` make up the name, others are labels; with `*` at the end a
    part takes all that is left. labels: given to every series.
    """

    filter: tuple[str, ...]
    parts: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """From `[filter] template [label=value,...]`. Raises ValueError."""
        words = text.split()
        labels = words.pop() if len(words) > 1 and "=" in words[-1] else ""
        if not 1 <= len(words) <= 2:
            raise ValueError(f"template: found {text!r}, expected '[filter] template [label=value,...]'")
        parts = tuple(words[-1].split("."))
        if not any(part.rstrip("*") in ("measurement", "field") for part in parts):
            raise ValueError(f"template: {words[-1]!r} has no part measurement, which names the series")
        if any(part.endswith("*") for part in parts[:-1]):
            raise ValueError(f"template: {words[-1]!r} has a * before its last part")
        pairs = [pair.partition("=") for pair in labels.split(",") if pair]
        found = tuple((label_name(name), value) for name, _, value in pairs)
        return cls(tuple(words[0].split(".")) if len(words) == 2 else (), parts, found)

    def holds(self, path: list[str]) -> bool:
        """Whether its filter, such as `servers.*`, holds a path; the filter may be shorter."""
        return len(self.filter) <= len(path) and all(map(fnmatchcase, path, self.filter))

    @property
    def exactness(self) -> tuple[int, int]:
        """The most exact filter decides: the longest, then the one with the fewest wildcards."""
        return len(self.filter), -sum("*" in part for part in self.filter)

    def read(self, path: list[str], separator: str) -> tuple[str, dict[str, str]]:
        """(name, labels) of a path."""
        names: dict[str, list[str]] = {"measurement": [], "field": []}
        labels: dict[str, list[str]] = {}
        for at, part in enumerate(self.parts):
            if not part or at >= len(path):
                continue
            taken = path[at:] if part.endswith("*") else path[at : at + 1]
            kind = part.rstrip("*")
            (names[kind] if kind in names else labels.setdefault(label_name(kind), [])).extend(taken)
        name = separator.join(names["measurement"] + names["field"])
        return name, dict(self.labels) | {label: separator.join(values) for label, values in labels.items()}


def read_path(raw: bytes, templates: list[Template], separator: str) -> bytes:
    """The key of the series that a path with its tags means. Raises BadPath."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadPath(NOT_UTF8, f"path is not UTF-8 at byte {error.start}") from None
    path, *tags = text.split(";")
    parts = path.split(".")
    template = next((one for one in templates if one.holds(parts)), None)
    name, labels = template.read(parts, separator) if template else (path.replace(".", separator), {})
    if not name.strip(separator + "."):
        raise BadPath(BAD_PATH, f"found {path[:40]!r}, which names nothing")
    for tag in tags:
        label, equals, value = tag.partition("=")
        if not label or not equals:
            raise BadPath(BAD_PATH, f"tag: found {tag[:40]!r}, expected name=value")
        label = label_name(label)
        if label in labels:
            raise BadPath(BAD_PATH, f"two tags become the label {label}")
        labels[label] = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)
    if len(labels) > MAX_LABELS:
        raise BadPath(TOO_MANY_LABELS, f"found {len(labels)} labels, expected at most {MAX_LABELS}")
    key = encode_key(metric_name(name), labels)
    if len(key) > MAX_KEY_BYTES:
        raise BadPath(KEY_TOO_LONG, f"found a key of {len(key)} bytes, expected at most {MAX_KEY_BYTES}")
    return key


def write_path(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    """A series as a tagged path; in tag values `%XX` stands for what a tag cannot hold."""
    tags = (f";{label}={_UNFIT.sub(lambda found: f'%{ord(found[0]):02X}', value)}" for label, value in labels)
    return name + "".join(tags)
