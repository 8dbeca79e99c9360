"""What pnp4nagios notes beside its RRDs: which host, service and label each data source is of, and its unit.

Source: https://github.com/lingej/pnp4nagios, scripts/process_perfdata.pl.in (the XML file of version 4)
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from almenara.model.errors import DecodeError

_MOST_BYTES = 16 << 20
_HOST = "_HOST_"  # the service under which perfdata of a host is kept


@dataclass(frozen=True, slots=True)
class Source:
    """One data source. unit: as the plugin wrote it."""

    host: str
    service: str
    label: str
    unit: str


def is_descriptor(text: str) -> bool:
    """Whether a text is the descriptor of an RRD, not a dump of one."""
    return "<NAGIOS>" in text and "<DATASOURCE>" in text


def sources_of(rrd: Path) -> dict[str, Source]:
    """By the name of the data source inside `rrd`; empty where no descriptor beside it names the file. Raises OSError,
    or DecodeError where a descriptor is damaged."""
    own = rrd.with_suffix(".xml")
    # With a file for each data source the descriptor is SERVICE.xml and the files are SERVICE_LABEL.rrd.
    others = [path for path in rrd.parent.glob("*.xml") if rrd.stem.startswith(path.stem + "_")]
    for path in (own, *sorted(others, key=lambda one: -len(one.stem))):
        if path.is_file() and path.stat().st_size <= _MOST_BYTES:
            found = _sources(path.read_text("utf-8", "replace"), rrd.name, path)
            if found:
                return found
    return {}


def _sources(text: str, name: str, path: Path) -> dict[str, Source]:
    if not is_descriptor(text):
        return {}
    host = _text(text, "NAGIOS_DISP_HOSTNAME") or _text(text, "NAGIOS_HOSTNAME")
    service = _text(text, "NAGIOS_DISP_SERVICEDESC") or _text(text, "NAGIOS_SERVICEDESC")
    if not host:
        raise DecodeError(f"{path}: found no NAGIOS_HOSTNAME, expected a descriptor of pnp4nagios")
    service = "" if service == _HOST or _text(text, "NAGIOS_DATATYPE") == "HOSTPERFDATA" else service
    found = {}
    for block in re.findall(r"<DATASOURCE>(.*?)</DATASOURCE>", text, re.DOTALL):
        file = _text(block, "RRDFILE").rpartition("/")[2]
        if file in ("", name):
            label = _text(block, "LABEL") or _text(block, "NAME")
            unit = _text(block, "UNIT").replace("%%", "%")  # as rrdtool's graphs want it
            found[_text(block, "DS") or "1"] = Source(host, service, label, unit)
    return found


def _text(text: str, tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    if found is None:
        return ""
    inside = found[1].strip()
    data = re.fullmatch(r"<!\[CDATA\[(.*)\]\]>", inside, re.DOTALL)
    return data[1] if data else html.unescape(inside)
