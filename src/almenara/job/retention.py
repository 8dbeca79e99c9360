"""The job that deletes stored rows and events older than the configured retention. Without one there is no such job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from almenara.job.runs import Outcome, Run
from almenara.job.schedule import Job, Skipped, Steps
from almenara.model.time import DAY_NS, MINUTE_NS, NS, format_duration, format_time, ns_from_datetime
from almenara.plugin.contracts import Store

NAME = "retention"

_MS = 1_000_000
_EVER = -(1 << 63)
#: The first run goes through so many years month by month; all before them goes in one step.
_FIRST_NS = 10 * 365 * DAY_NS


def retention_jobs(store: Store, retention_s: float) -> list[Job]:
    """The job, or none where retention is 0. It runs in the thread that writes to the store."""
    if not retention_s:
        return []
    keep_ns = round(retention_s * NS)
    return [Job(NAME, every_s(retention_s), lambda now_ns, last: _steps(store, keep_ns, now_ns, last))]


def every_s(retention_s: float) -> float:
    """How often to look: 24 times in a retention, but not more often than every 5 minutes, and at least once a day."""
    return min(max(retention_s / 24, 5 * MINUTE_NS / NS), DAY_NS / NS)


def _steps(store: Store, keep_ns: int, now_ns: int, last: Run | None) -> Steps:
    """Delete up to `now - keep`, a month at a time: the store's one writing thread stores arriving rows in between.

    Every step begins with the oldest row there is, since a crash may bring back rows that were deleted just before it.
    Raises Skipped where the clock leaps over a whole retention: a wrong clock must not cost all rows at once.
    """
    if last is not None and last.outcome is not Outcome.SKIPPED and now_ns - last.started_ns > keep_ns:
        ahead = format_duration((now_ns - last.started_ns) / NS)
        raise Skipped(
            f"the clock says {format_time(now_ns)}, {ahead} after the last run and more than the whole retention; if "
            "that is right, rows are deleted at the next turn"
        )
    limit = now_ns - keep_ns
    first = int(last.figures.get("until_ms", 0)) * _MS if last is not None else 0
    rows = 0
    for end in (*_months(max(first, limit - _FIRST_NS), limit), limit):
        rows += store.delete(None, _EVER, end)
        yield {"rows": rows, "until_ms": end // _MS}
    yield {"rows": rows, "until_ms": limit // _MS, "events": store.delete_events(_EVER, limit)}


def _months(after_ns: int, before_ns: int) -> Iterator[int]:
    """The beginnings of months (UTC) in (after, before), in ns."""
    at = datetime.fromtimestamp(max(0, after_ns) // NS, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while (ns := ns_from_datetime(at)) < before_ns:
        if ns > after_ns:
            yield ns
        at = at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
