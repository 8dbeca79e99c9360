"""A clock that runs faster than real time, for demos."""

from __future__ import annotations

import time


class FastClock:
    """now in ns, `speed` times as fast as real time, from `start_ns` on."""

    def __init__(self, start_ns: int, speed: float):
        self._start_ns, self._speed = start_ns, speed
        self._began_ns = time.monotonic_ns()

    def __call__(self) -> int:
        return self._start_ns + int((time.monotonic_ns() - self._began_ns) * self._speed)
