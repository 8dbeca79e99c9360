"""A simulated plant as a pure function of time: two cities, four pumps, a web shop, with seasons, noise and faults.

The same seed and time always give the same value, however often and in whatever order it is asked for: noise is hashed
from (series, time), so history and live rows are one function. Nothing here is measured; every series says
`source="simulated"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from almenara.analysis.calendars import EPOCH_SHIFT_S, WEEK_S, Zone, local_seconds
from almenara.model.time import HOUR_NS, MINUTE_NS, NS

#: Noise differs from one bin of this length to the next.
TICK_NS = 10 * NS

CITIES = {"Mumbai": ("CITIMUM", 28.0, 3.0, 70.0), "Madrid": ("CITIMAD", 19.0, 6.5, 45.0)}  # id, °C, its swing, % humid
PUMPS = ("P-101", "P-102", "P-103", "P-104")
PUMP_METRICS = ("flow", "pressure", "vibration", "motor_temperature")  # m³/h, bar, mm/s, °C

#: A fault as (name, since, until, ramp), all ns of data time. It grows over `ramp` and is gone at `until`.
Fault = tuple[str, int, int, int]


def _series() -> tuple[tuple[str, dict[str, str]], ...]:
    found: list[tuple[str, dict[str, str]]] = []
    for city, (id, *_) in CITIES.items():
        found += [(name, {"city": city, "id": id}) for name in ("temperature", "humidity")]
    for pump in PUMPS:
        found += [(name, {"pump": pump, "plant": "waterworks"}) for name in PUMP_METRICS]
    found += [(name, {"service": "shop"}) for name in ("requests_per_s", "error_ratio", "latency_ms")]
    found += [("cpu_percent", {"service": "shop", "node": node}) for node in ("web-1", "web-2")]
    found += [("reservoir_level", {"plant": "waterworks"})]
    return tuple((name, labels | {"source": "simulated"}) for name, labels in found)


#: (name, labels) of every series, in the order of the rows of `values`.
SERIES = _series()
_AT = {
    name + "".join(labels.get(k, "") for k in ("city", "pump", "node")): i for i, (name, labels) in enumerate(SERIES)
}


def _hash(key: int, n: Any) -> Any:
    """uint64[n] well mixed from int64[n] and a key (splitmix64; Steele, Lea and Flood 2014)."""
    x = n.astype(np.uint64) + np.uint64(key * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _bell(key: int, n: Any) -> Any:
    """float64[n] of mean 0 and size 1, nearly normal, never beyond 3.5: the sum of four uniform numbers."""
    x = _hash(key, n)
    total = sum(((x >> np.uint64(s)) & np.uint64(0xFFFF)).astype(np.float64) for s in (0, 16, 32, 48))
    return (total / 65536 - 2) * np.sqrt(3)


def _tent(key: int, n: Any) -> Any:
    """float64[n] of mean 0 and size 1, never beyond 2.5: the sum of two uniform numbers."""
    x = _hash(key, n)
    total = (x >> np.uint64(40)).astype(np.float64) + ((x >> np.uint64(16)) & np.uint64(0xFFFFFF)).astype(np.float64)
    return (total / 2**24 - 1) * np.sqrt(6)


def _hump(now: Any, at: float, width: float, period: float) -> Any:
    """A bell around `at` with this width, again every `period`; all in hours."""
    away = (now - at + period / 2) % period - period / 2
    return np.exp(-0.5 * (away / width) ** 2)


class _Noise:
    """Noise of one series at some times."""

    def __init__(self, seed: int, times: Any):
        self.seed, self.times = seed, times

    def white(self, series: int) -> Any:
        """New in every tick."""
        return _bell(self.seed * 1009 + series * 31, self.times // TICK_NS)

    def slow(self, series: int, scale_ns: int) -> Any:
        """Smooth, of size 1, forgetting within about `scale_ns`."""
        key = self.seed * 1009 + series * 31 + 1 + scale_ns // NS
        left = self.times // scale_ns
        part = (self.times % scale_ns) / scale_ns
        part = part * part * (3 - 2 * part)
        return ((1 - part) * _tent(key, left) + part * _tent(key, left + 1)) / np.sqrt((1 - part) ** 2 + part**2)


def traffic(times: Any, where: Zone) -> Any:
    """How many visitors a web shop has, 1 on a working day's average: day and week, a peak every evening at eight, the
    highest on Sundays. float64[n] from int64[n] ns UTC."""
    second = (local_seconds(times, where) + EPOCH_SHIFT_S) % WEEK_S
    hour, week = (second % 86_400) / 3600, second / 3600
    weekend = 0.5 * (np.tanh((week - 120) / 1.5) - np.tanh((week - 164) / 1.5))
    evening, sunday = _hump(hour, 20, 1.5, 24), _hump(week, 164, 1.5, 168)
    return np.exp(0.6 * np.sin(2 * np.pi * (hour - 9) / 24) - 0.2 * weekend + 0.5 * evening + 0.9 * sunday)


def values(times: Any, seed: int, where: Zone, faults: Sequence[Fault] = ()) -> Any:
    """float64[series, n] at int64[n] ns UTC, in the order of SERIES."""
    times = np.asarray(times, np.int64)
    noise = _Noise(seed, times)
    hour = local_seconds(times, where) % 86_400 / 3600
    visitors = traffic(times, where) * (1 - 0.7 * _strength("missing_peak", times, faults))
    out = np.empty((len(SERIES), len(times)))
    _cities(out, noise, hour)
    _pumps(out, noise, hour, times, faults)
    _shop(out, noise, visitors)
    level = 70 + 8 * np.sin(2 * np.pi * (hour - 3) / 24) + 0.4 * noise.slow(99, 2 * HOUR_NS) + 0.05 * noise.white(99)
    out[_AT["reservoir_level"]] = np.round(level, 2)
    _storm(out, times, seed, faults)
    return _stick(out, times, seed, where, faults)


def _cities(out: Any, noise: _Noise, hour: Any) -> None:
    for k, (city, (_, warm, swing, humid)) in enumerate(CITIES.items()):
        warmth = np.sin(2 * np.pi * (hour - 9) / 24)
        drift = noise.slow(k, 6 * HOUR_NS)
        out[_AT["temperature" + city]] = np.round(warm + swing * warmth + 0.8 * drift + 0.08 * noise.white(k), 2)
        wet = humid - 2.2 * swing * warmth - 1.5 * drift + 0.25 * noise.white(k + 10)
        out[_AT["humidity" + city]] = np.round(wet, 2)


def _pumps(out: Any, noise: _Noise, hour: Any, times: Any, faults: Sequence[Fault]) -> None:
    demand = _hump(hour, 8, 2, 24) + 0.8 * _hump(hour, 19, 2.5, 24)
    for k, pump in enumerate(PUMPS):
        leak = _strength("leak", times, faults) if pump == "P-102" else 0.0
        drift = _strength("drift", times, faults) if pump == "P-104" else 0.0
        wander = noise.slow(20 + k, 20 * MINUTE_NS)
        flow = 80 + 5 * k + 18 * demand + 1.2 * wander
        out[_AT["flow" + pump]] = np.round(flow - 30 * leak + 0.4 * noise.white(20 + k), 2)
        pressure = 6.2 - 0.012 * (flow - 80) - 1.5 * leak + 0.015 * noise.white(30 + k)
        out[_AT["pressure" + pump]] = np.round(pressure, 3)
        shake = 2.1 + 0.012 * (flow - 80) + 1.2 * leak + 0.06 * noise.white(40 + k)
        out[_AT["vibration" + pump]] = np.round(shake, 6)
        heat = 52 + 0.22 * (flow - 80) + 0.4 * noise.slow(50 + k, HOUR_NS) + 20 * drift + 0.1 * noise.white(50 + k)
        out[_AT["motor_temperature" + pump]] = np.round(heat, 2)


def _shop(out: Any, noise: _Noise, visitors: Any) -> None:
    mood = 1 + 0.03 * noise.slow(60, 15 * MINUTE_NS) + 0.03 * noise.slow(61, 3 * HOUR_NS)
    out[_AT["requests_per_s"]] = np.round(140 * visitors * (mood + 0.015 * noise.white(60)), 1)
    out[_AT["error_ratio"]] = np.round(0.004 + 0.0006 * noise.white(62) + 0.0004 * noise.slow(62, 10 * MINUTE_NS), 5)
    out[_AT["latency_ms"]] = np.round(35 + 12 * visitors * mood + 1.2 * noise.white(63), 2)
    for k, node in enumerate(("web-1", "web-2")):
        busy = 8 + 14 * visitors * mood + 0.8 * noise.white(64 + k) + 0.8 * noise.slow(64 + k, 5 * MINUTE_NS)
        out[_AT["cpu_percent" + node]] = np.round(np.clip(busy, 0, 100), 1)


def _strength(name: str, times: Any, faults: Sequence[Fault]) -> Any:
    """How strong a fault is at these times, 0 to 1: float64[n]."""
    total = np.zeros(len(times))
    for fault, since, until, ramp in faults:
        if fault == name:
            grown = np.clip((times - since) / max(ramp, 1), 0, 1)
            total = np.maximum(total, np.where((times >= since) & (times < until), grown, 0))
    return total


def _storm(out: Any, times: Any, seed: int, faults: Sequence[Fault]) -> None:
    """Readings of all pumps jump between far too high and far too low."""
    strength = _strength("storm", times, faults)
    if not strength.any():
        return
    for pump in PUMPS:
        for name, size in zip(PUMP_METRICS, (30.0, 1.5, 1.5, 15.0), strict=True):
            i = _AT[name + pump]
            h = _hash(seed * 1009 + i * 31 + 7, times // TICK_NS)
            sign = np.where(h & np.uint64(1), 1.0, -1.0)
            jump = sign * size * (1 + ((h >> np.uint64(8)) & np.uint64(0xFFFF)) / 65536)
            out[i] = np.round(out[i] + jump * (strength > 0), 3)


def _stick(out: Any, times: Any, seed: int, where: Zone, faults: Sequence[Fault]) -> Any:
    """One sensor repeats the value that it had when the fault began."""
    others = [f for f in faults if f[0] != "stuck"]
    for name, since, until, _ in faults:
        inside = (times >= since) & (times < until)
        if name == "stuck" and inside.any():
            i = _AT["vibrationP-103"]
            out[i, inside] = values(np.array([since]), seed, where, others)[i, 0]
    return out
