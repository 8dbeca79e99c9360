"""When anomalies of series began: a few numbers for the few series that ever had one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

#: The latest begins kept of one series.
MOST = 32


class Begins:
    """Minutes in which anomalies began, by series id, or key where a series has none; for the flush thread. What was
    added in which order, or twice, makes no difference: a restart may add again."""

    def __init__(self) -> None:
        self._of: dict[int | bytes, list[int]] = {}  # in order of time
        self.since = 2**62  # the first minute watched

    def watch(self, minute: int) -> None:
        """Somebody listened at this minute."""
        self.since = min(self.since, minute)

    def add(self, begun: Iterable[tuple[int | bytes, int]]) -> None:
        """(series, minute) of begins."""
        for id, minute in begun:
            self.watch(minute)
            mine = self._of.setdefault(id, [])
            if minute not in mine and not (len(mine) == MOST and minute < mine[0]):
                mine.append(minute)
                mine.sort()
                del mine[:-MOST]

    def of(self, ids: Iterable[int | bytes], before: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(int64[k], positions in ids; int64[k], the begins of each before a minute; int64[n], since when each id was
        watched)."""
        at, minutes, since = [], [], []
        for position, id in enumerate(ids):
            mine = self._of.get(id, [])
            kept = [minute for minute in mine if minute < before]
            at += [position] * len(kept)
            minutes += kept
            since.append(mine[0] if len(mine) == MOST else self.since)
        return np.array(at, np.int64), np.array(minutes, np.int64), np.array(since, np.int64)

    def state(self) -> dict[str, np.ndarray]:
        """As arrays, of series with an id; others are of alarms alone, and the journal has those."""
        rows = sorted((id, minute) for id, mine in self._of.items() if isinstance(id, int) for minute in mine)
        return {
            "begin_since": np.array([self.since], np.int64),
            "begin": np.array(rows, np.int64).reshape(len(rows), 2),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave, if there is any of it."""
        if "begin" in arrays:
            self.add(map(tuple, arrays["begin"].tolist()))
            self.watch(int(arrays["begin_since"][0]))
