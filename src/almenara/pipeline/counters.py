"""The hub's own figures: counted anywhere, shown at /metrics, and stored as series like everything else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure now."""

    name: str
    labels: Labels
    value: float
    kind: str  # counter or gauge
    help: str


#: Name -> (kind, help). A figure that is not described here cannot be counted.
DESCRIBED: dict[str, tuple[str, str]] = {
    "almenara_rows_received_total": ("counter", "Rows decoded, by transport"),
    "almenara_rows_committed_total": ("counter", "Rows synced to the log and acknowledged"),
    "almenara_rows_rejected_total": ("counter", "Rows not kept, by reason"),
    "almenara_rows_stored_total": ("counter", "Rows in the store after folding those with equal series and time"),
    "almenara_rows_folded_total": ("counter", "Rows of one segment replaced by a later one with equal series and time"),
    "almenara_rows_late_total": ("counter", "Rows stored but not judged, since their series was judged past them"),
    "almenara_rows_judged_total": ("counter", "Rows judged, by detector"),
    "almenara_anomalies_total": ("counter", "Rows with a score above 1, by detector"),
    "almenara_payloads_total": ("counter", "Payloads received, by transport"),
    "almenara_payloads_undecodable_total": ("counter", "Payloads of which nothing could be read"),
    "almenara_aside_failed_total": ("counter", "Unreadable payloads that could not be kept aside"),
    "almenara_writes_refused_total": ("counter", "Writes refused for now, by reason"),
    "almenara_segments_total": ("counter", "Segments stored and judged"),
    "almenara_commit_seconds_total": ("counter", "Time spent committing"),
    "almenara_flush_seconds_total": ("counter", "Time spent sorting, storing and judging segments"),
    "almenara_transitions_total": ("counter", "Changes of state of alarms, by state"),
    "almenara_alarms_failed_total": ("counter", "Segments and seconds of which alarms could not be decided"),
    "almenara_alerts_received_total": ("counter", "Alerts that other systems sent, those sent again too"),
    "almenara_alerts_invalid_total": ("counter", "Alerts of other systems that were left out since they were invalid"),
    "almenara_alerts_left_out_total": ("counter", "Alerts of other systems that were left out since too many fire"),
    "almenara_rule_evaluations_total": ("counter", "Evaluations of rules over stored rows, by rule"),
    "almenara_rule_evaluation_failures_total": ("counter", "Evaluations of rules that gave no answer, by rule"),
    "almenara_notices_total": ("counter", "Messages to people, by notifier and outcome: sent, failed, given up"),
    "almenara_payloads_again_total": ("counter", "Payloads answered as before, their key being known, by transport"),
    "almenara_ledger_rows_total": ("counter", "Rows by what became of them, over restarts, by kind of source"),
    "almenara_http_refused_total": ("counter", "HTTP requests turned away at the door, by status"),
    "almenara_link_dropped_total": ("counter", "Datagrams, lines and connections dropped, by transport and reason"),
    "almenara_live_dropped_total": ("counter", "Live streams ended because their reader took nothing"),
    "almenara_live_streams": ("gauge", "Live streams open"),
    "almenara_published_total": ("counter", "Messages published on the bus, by kind"),
    "almenara_unpublished_total": ("counter", "Messages of judged rows not published, by reason"),
    "almenara_commands_total": ("counter", "What people asked and ordered through notifiers, by verb"),
    "almenara_commands_dropped_total": ("counter", "What was said to notifiers and was no command, by reason"),
    "almenara_route_rows_total": ("counter", "Rows that went on to another system, by route"),
    "almenara_route_dropped_total": ("counter", "Rows of routes left out, by route and reason"),
    "almenara_feed_lost_total": ("counter", "Judged segments that a slow reader of the live feed missed"),
    "almenara_bus_lost_total": ("counter", "Messages that the broker discarded before they were read"),
    "almenara_pings_total": ("counter", "Pings of [watch] ping_url: sent, failed, or withheld as all is not well"),
    "almenara_queued_documents": ("gauge", "Documents in named HTTP queues, by queue"),
    "almenara_queue_rows": ("gauge", "Rows waiting to be committed"),
    "almenara_segment_lag_seconds": ("gauge", "Age of the oldest committed row that is not stored and judged yet"),
    "almenara_series": ("gauge", "Series known"),
    "almenara_alarms_open": ("gauge", "Alarms pending or firing"),
    "almenara_store_bytes": ("gauge", "Size of the store on disk"),
    "almenara_disk_free_bytes": ("gauge", "Free disk under the data folder"),
    "almenara_resident_bytes": ("gauge", "Memory of the hub's process"),
    "almenara_cpu_seconds_total": ("counter", "CPU time of the hub's process"),
    "almenara_uptime_seconds": ("gauge", "Time since the hub started"),
}


class Counters:
    """All figures of one hub; safe from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, Labels], float] = {}
        self._sampled: list[Callable[[], Iterable[tuple[str, float]]]] = []
        self._sampled_by: list[Callable[[], Iterable[tuple[str, Mapping[str, str], float]]]] = []

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count `amount` more."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._values[key] = self._values.get(key, 0.0) + amount

    def sample(self, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """Ask `read` for (name, value) whenever the figures are looked at."""
        self._sampled.append(read)

    def sample_by(self, read: Callable[[], Iterable[tuple[str, Mapping[str, str], float]]]) -> None:
        """Ask `read` for (name, labels, value) whenever the figures are looked at."""
        self._sampled_by.append(read)

    def value(self, name: str, **labels: str) -> float:
        """What was counted so far; 0 when nothing was."""
        with self._lock:
            return self._values.get((name, tuple(sorted(labels.items()))), 0.0)

    def snapshot(self) -> list[Sample]:
        """Every figure now, in order of name and labels."""
        with self._lock:
            values = dict(self._values)
        values.update({(name, ()): value for read in self._sampled for name, value in read()})
        for read_by in self._sampled_by:
            values.update({(name, tuple(sorted(labels.items()))): value for name, labels, value in read_by()})
        return list(_described(values))


def _described(values: dict[tuple[str, Labels], float]) -> Iterator[Sample]:
    for (name, labels), value in sorted(values.items()):
        kind, help = DESCRIBED[name]
        yield Sample(name, labels, value, kind, help)
