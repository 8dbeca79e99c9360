"""The tables of the chdb store, and the SQL that its reader and writer share.

`samples.ts` is an Int64 of ns and no DateTime64: the bytes on disk are the same, every int64 is a time, bucket
arithmetic is plain, and no query passes a calendar. Partitions are months, so that retention drops folders and a
merge never touches more than a month; times before 1900 share one partition. GCD and DoubleDelta store regular times
in 0.02 bytes a sample, and jitter in whole ms in 1.9 (DoubleDelta alone: 4.3). ALP stores decimals in 1.1.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1

#: Rollups: table -> width of a bucket in ns; each width divides the next, the last is an hour.
ROLLUPS = {"rollup_5m": 300_000_000_000, "rollup_1h": 3_600_000_000_000}

_MONTH = "toYYYYMM(fromUnixTimestamp64Nano(ts, 'UTC'))"
_TS = "ts Int64 CODEC(GCD, DoubleDelta, ZSTD(1))"
_SYNC = "fsync_after_insert = 1, fsync_part_directory = 1"
_ONCE = f"{_SYNC}, non_replicated_deduplication_window = 10000"

_ROLLUP = f"""CREATE TABLE IF NOT EXISTS {{table}} (sid UInt32 CODEC(Delta, ZSTD(1)), {_TS},
    mn Float64 CODEC(ALP), mx Float64 CODEC(ALP), sm Float64 CODEC(ZSTD(1)), n UInt64 CODEC(T64, ZSTD(1)),
    f Float64 CODEC(ALP), l Float64 CODEC(ALP))
    ENGINE = ReplacingMergeTree PARTITION BY {_MONTH} ORDER BY (sid, ts) SETTINGS {_SYNC}"""

CREATE = (
    f"""CREATE TABLE IF NOT EXISTS samples (sid UInt32 CODEC(Delta, ZSTD(1)), {_TS}, v Float64 CODEC(ALP),
    seq UInt64 CODEC(DoubleDelta, ZSTD(1)), INDEX by_seq seq TYPE minmax GRANULARITY 1)
    ENGINE = ReplacingMergeTree(seq) PARTITION BY {_MONTH} ORDER BY (sid, ts) SETTINGS {_ONCE}""",
    f"""CREATE TABLE IF NOT EXISTS series (sid UInt32 CODEC(Delta, ZSTD(1)), key String CODEC(ZSTD(1)))
    ENGINE = ReplacingMergeTree ORDER BY sid SETTINGS {_SYNC}""",
    f"""CREATE TABLE IF NOT EXISTS events ({_TS}, seq UInt64, n UInt32, labels String CODEC(ZSTD(1)),
    text String CODEC(ZSTD(1))) ENGINE = ReplacingMergeTree ORDER BY (ts, seq, n) SETTINGS {_ONCE}""",
    *(_ROLLUP.format(table=table) for table in ROLLUPS),
    "CREATE TEMPORARY TABLE todo (sid UInt32, hour Int64)",
)

#: how -> (columns of a raw row, columns of a rollup row, what to make of them).
AGGREGATES = {
    "avg": ("v AS x, toUInt64(1) AS y", "sm AS x, n AS y", "sum(x) / sum(y)"),
    "sum": ("v AS x", "sm AS x", "sum(x)"),
    "count": ("toUInt64(1) AS x", "n AS x", "toFloat64(sum(x))"),
    "min": ("v AS x", "mn AS x", "min(x)"),
    "max": ("v AS x", "mx AS x", "max(x)"),
    "first": ("v AS x, ts AS y", "f AS x, ts AS y", "argMin(x, y)"),
    "last": ("v AS x, ts AS y", "l AS x, ts AS y", "argMax(x, y)"),
}


def bucket(width_ns: int) -> str:
    """The start of a row's bucket."""
    return f"toInt64(ts - positiveModulo(ts, {width_ns}))"


def ids_sql(id: NDArray | None) -> str:
    """A condition on sid: these ids (sorted, each once), or None for all."""
    if id is None:
        return "1"
    if not len(id):
        return "0"
    if int(id[-1]) - int(id[0]) + 1 == len(id):
        return f"sid >= {id[0]} AND sid <= {id[-1]}"
    return f"sid IN ({','.join(map(str, id.tolist()))})"


def time_sql(ranges: Iterable[tuple[int, int]]) -> str:
    """A condition on ts: in any of these ranges [start, end)."""
    parts = [f"(ts >= {start} AND ts < {end})" for start, end in ranges]
    return "(" + " OR ".join(parts) + ")" if parts else "0"


def clip(time: int) -> int:
    """`time` as the engine can hold it."""
    return int(np.clip(time, LOWEST + 1, HIGHEST))
