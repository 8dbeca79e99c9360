"""How often something came, and between which bounds its true rate lies: what an alarm budget is held against."""

from __future__ import annotations

import math


def weekly(count: int, weeks: float) -> tuple[float, float, float]:
    """(anomalies a week, and the 95 % interval of their true rate) where `count` of them came in so many weeks.

    The interval takes them for independent (Poisson); by Byar's approximation (Breslow and Day 1987). inf for no time.
    """
    if weeks <= 0:
        return float("inf"), 0.0, float("inf")
    z, more = 1.959964, count + 1
    low = count * (1 - 1 / (9 * count) - z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    high = more * (1 - 1 / (9 * more) + z / (3 * math.sqrt(more))) ** 3
    return count / weeks, max(low, 0.0) / weeks, high / weeks
