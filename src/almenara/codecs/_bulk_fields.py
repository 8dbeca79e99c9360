"""What the fields of a Metricbeat document are: names of series, labels, or what only describes the document."""

from __future__ import annotations

import re
from collections.abc import Collection

from almenara.model.series import Metadata

VALUE, LABEL, IGNORE, TIME, MESSAGE = range(5)

#: Texts that say whose the numbers are, by their dotted path.
LABELS = frozenset(
    [
        "host.name",
        "agent.name",
        "beat.name",
        "service.name",
        "service.address",
        "service.node.name",
        "container.id",
        "container.name",
        "container.image.name",
        "container.runtime",
        "docker.container.id",
        "docker.container.name",
        "kubernetes.namespace",
        "kubernetes.node.name",
        "kubernetes.pod.name",
        "kubernetes.container.name",
        "kubernetes.deployment.name",
        "cloud.instance.id",
        "cloud.region",
        "cloud.availability_zone",
        "process.name",
        "process.pid",
        "user.name",
        "system.core.id",
        "system.network.name",
        "system.filesystem.mount_point",
        "system.filesystem.device_name",
        "system.filesystem.type",
        "system.diskio.name",
        "system.raid.name",
        "docker.network.interface",
        "docker.diskio.name",
        "prometheus.labels",
    ]
)
#: Below the object of a module a text under one of these keys is a label too, whatever the module.
NAMING = frozenset(
    [
        "name",
        "id",
        "device",
        "device_name",
        "mount_point",
        "interface",
        "partition",
        "shard",
        "queue",
        "topic",
        "database",
        "table",
        "node",
        "cluster",
        "namespace",
        "pod",
        "vhost",
        "pool",
        "zone",
        "instance",
    ]
)
#: Objects that describe a document, its sender and its surroundings. Their numbers are no readings.
DESCRIBING = frozenset(
    [
        "agent",
        "beat",
        "ecs",
        "event",
        "metricset",
        "service",
        "data_stream",
        "input",
        "log",
        "fields",
        "@metadata",
        "cloud",
    ]
)
#: Texts below these are no readings that somebody forgot to declare; they are left out without a word.
SURROUNDING = DESCRIBING | frozenset(
    ["host", "container", "docker", "kubernetes", "process", "user", "os", "type", "tags"]
)
#: Objects whose parts carry their own name.
BARE_NAMES = ("metrics", "prometheus.metrics")
BARE_LABELS = ("labels", "fields", "prometheus.labels")

_NOT_VALUES = frozenset(
    [
        "process.pid",
        "process.ppid",
        "process.pgid",
        "process.parent.pid",
        "system.core.id",
        "system.process.pid",
        "host.cpu.cores",
    ]
)
_COUNTER = re.compile(
    r".*\.ticks|system\.network\.(in|out)\.\w+|docker\.network\.(inbound|outbound)\.\w+|"
    r"system\.diskio\.(read|write|io)\.\w+|.*\.(pages|requests_total|_total)|system\.memory\.page_stats\..*"
)
_UNITS = {"pct": "ratio", "bytes": "B", "ms": "ms", "us": "us", "ns": "ns", "sec": "s", "celsius": "Cel"}


def role_of(path: str, extra_labels: Collection[str], dropped: Collection[str]) -> int:
    """What the field at a dotted path is; a text where VALUE is said is none that is kept."""
    first, _, rest = path.partition(".")
    if path == "@timestamp":
        return TIME
    if path in dropped or any(path.startswith(d + ".") for d in dropped):
        return IGNORE
    if path in extra_labels or path in LABELS or path.rpartition(".")[0] in BARE_LABELS:
        return LABEL
    if path == "message":
        return MESSAGE
    if first in DESCRIBING or path in _NOT_VALUES:
        return IGNORE
    if first not in SURROUNDING and rest and path.rpartition(".")[2] in NAMING:
        return LABEL
    return VALUE


def name_of(path: str) -> str:
    """The name of a series or label at a dotted path, before it is cleaned."""
    outer, _, last = path.rpartition(".")
    return last if outer in BARE_NAMES or outer in BARE_LABELS else path.replace(".", "_")


def about(path: str) -> Metadata:
    """Unit and kind, as far as the name of a field tells."""
    unit = _UNITS.get(path.rpartition(".")[2], "")
    return Metadata(unit, "counter" if _COUNTER.fullmatch(path) else "gauge")
