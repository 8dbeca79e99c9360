"""A hub that makes its data up, for the pages' fixture: values are a pure function of series and time."""

from __future__ import annotations

import math
import re
import time
import zlib

import numpy as np

from almenara.model import causes

EVIL = "<img src=x onerror=alert(1)>"
HOUR, DAY = 3_600_000, 86_400_000
COLUMNS = ("value", "score", "lower", "upper", "yhat")  # of a live row, after series and time

#: name -> (unit, level, swing over a day, noise)
METRICS = {
    "cpu_used_percent": ("%", 24.0, 9.0, 2.2),
    "memory_used_bytes": ("bytes", 6.1e9, 0.7e9, 5e7),
    "disk_used_percent": ("%", 61.0, 0.4, 0.05),
    "disk_read_bytes_per_second": ("bytes/s", 2.1e6, 1.2e6, 3e5),
    "network_received_bytes_per_second": ("bytes/s", 3.4e5, 1.9e5, 4e4),
    "network_sent_bytes_per_second": ("bytes/s", 1.2e5, 0.7e5, 2e4),
    "load_1m": ("", 0.9, 0.35, 0.12),
}
FAULTS = {
    "leak": "A pump leaks: its flow and pressure fall.",
    "stuck": "A vibration sensor repeats its last value.",
    "drift": "A motor runs hot: its temperature creeps up.",
    "missing_peak": "The visitors who come every Sunday stay away.",
    "storm": "Every reading of all pumps jumps far up and down.",
}


def all_series(scene: str) -> list[dict[str, str]]:
    """The label sets of a scene."""
    if scene == "empty":
        return []
    found = [{"__name__": name, "host": "beacon"} for name in METRICS]
    found += [{"__name__": "cpu_used_percent", "host": "beacon", "cpu": str(i)} for i in range(4)]
    for city, station in (("Mumbai", "CITIMUM"), ("Chennai", "CITICHE")):
        for name in ("temperature", "humidity"):
            found.append({"__name__": name, "city": city, "id": station, "source": "simulated"})
    found += [{"__name__": "pump_pressure_bar", "pump": f"P{i:03d}", "source": "simulated"} for i in range(1, 41)]
    found += [
        {"__name__": "web_request_seconds", "path": f"/shop/{i}", "zone": f"z{i % 5}", "source": "simulated"}
        for i in range(3000)
    ]
    found += [{"__name__": "cpu_percent", "node": node, "source": "simulated"} for node in ("web-1", "web-2")]
    made = {"of": "temperature", "detector": "seasonal", "city": "Mumbai", "id": "CITIMUM", "source": "simulated"}
    found = [
        {"__name__": name} | made for name in ("anomaly", "anomaly_yhat")
    ] + found  # made first: an index may be so
    found.append({"__name__": "motor_temperature", "pump": "P001", "source": "simulated"})
    return [*found, {"__name__": "door_state", "room": EVIL}]


def text_of(labels: dict[str, str]) -> str:
    """A label set as in PromQL."""
    quoted = (
        f'{k}="{v}"'.replace("\\", r"\\") if "\\" in v else f'{k}="{v}"'
        for k, v in sorted(labels.items())
        if k != "__name__"
    )
    inside = ",".join(quoted)
    return labels["__name__"] + (f"{{{inside}}}" if inside else "")


def matches(labels: dict[str, str], selector: str) -> bool:
    """Whether a selector of the simple form name{a="b",c=~"d"} picks this label set."""
    found = re.fullmatch(r"\s*([a-zA-Z_:][\w:]*)?\s*(?:\{(.*)\})?\s*", selector, re.DOTALL)
    if found is None:
        return False
    name, inside = found.groups()
    if name and labels["__name__"] != name:
        return False
    for key, op, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"', inside or ""):
        value = re.sub(r"\\(.)", r"\1", value)
        have = labels.get(key, "")
        hit = bool(re.fullmatch(value, have)) if "~" in op else have == value
        if hit == op.startswith("!"):
            return False
    return True


def shape_of(labels: dict[str, str]) -> tuple[str, float, float, float]:
    """Unit, level, swing and noise of a series."""
    name = labels["__name__"]
    if name in METRICS:
        return METRICS[name]
    if name == "temperature":
        return "°C", 28.0 if labels["city"] == "Mumbai" else 31.0, 4.0, 0.35
    if name == "humidity":
        return "%", 70.0, 11.0, 1.2
    if name == "pump_pressure_bar":
        return "bar", 4.2, 0.3, 0.05
    if name == "door_state":
        return "", 1.0, 0.0, 0.0
    return "s", 0.21, 0.08, 0.02


def judged(labels: dict[str, str], t: np.ndarray, started: float) -> dict[str, np.ndarray]:
    """Values, band and score at times t (ms); the star of the show misbehaves three times before the start."""
    _, level, swing, noise = shape_of(labels)
    seed = zlib.crc32(text_of(labels).encode())
    day = np.sin(2 * np.pi * (t % DAY) / DAY - 1.2 + (seed % 100) / 60) + 0.35 * np.sin(4 * np.pi * (t % DAY) / DAY)
    yhat = level + swing * day
    jitter = sum(np.sin(t / period + seed % 17 * i) for i, period in enumerate((9_137, 23_911, 61_003, 180_071), 1))
    value = yhat + noise * jitter * 0.45
    half = 2.6 * noise + 0.02 * swing
    if labels.get("city") == "Mumbai" and labels["__name__"] == "temperature":
        into = (started - t) / 60_000  # minutes before the server started
        value = value + np.where(into < 9, 9.5 * noise * np.clip((9 - into) / 6, 0, 1), 0)
        value = value + np.where((into > 95) & (into < 101), -5.2 * noise, 0)
        value = value + np.where((into > 171) & (into < 174), 4.3 * noise, 0)
        value = np.where((into > 128) & (into < 140), np.nan, value)
    if labels.get("city") == "Mumbai" and labels["__name__"] == "humidity":
        value = value + np.where(t > started - 150_000, 4.2, 0)
    score = np.abs(value - yhat) / half if half else np.zeros(len(t))
    return {"value": value, "yhat": yhat, "lower": yhat - half, "upper": yhat + half, "score": score}


def severity_of(score: float) -> str:
    return "critical" if score >= 2 else "major" if score >= 1.5 else "minor" if score >= 1.25 else "warning"


def numbers(column: np.ndarray) -> list[float | None]:
    return [None if math.isnan(v) else round(float(v), 6) for v in column]


def why(value: float, row: dict[str, float]) -> str:
    return causes.why(value, 1.5, row["lower"], row["upper"], "rose suddenly" if value > row["upper"] else "")


def thresholds_of(labels: dict[str, str], t: np.ndarray, value: np.ndarray) -> list[dict[str, object]]:
    """A warning limit just above the values and a critical one far away, for one series."""
    if labels["__name__"] != "humidity" or labels.get("city") != "Mumbai" or not len(t):
        return []
    near = float(np.ceil(np.nanmax(value)) + 1)
    return [
        {"severity": "warning", "times": [int(t[0]), int(t[len(t) // 2])], "values": [near - 5, near]},
        {"severity": "critical", "times": [int(t[0])], "values": [1000.0]},
    ]


class Hub:
    """The state behind the pages: a scene, its series, and what tests push into it."""

    def __init__(self, scene: str = "busy") -> None:
        self.scene = scene
        self.series = all_series(scene)
        self.started = time.time() * 1000
        self.injected: list[dict[str, object]] = []
        self.extra: dict[str, list[list[float]]] = {}
        self.live_from = {text_of(s): 0 for s in self.series}
        self.closing = False

    def find(self, selectors: list[str]) -> list[dict[str, str]]:
        return [s for s in self.series if not selectors or any(matches(s, m) for m in selectors)]

    def status(self) -> dict[str, object]:
        busy = self.scene != "empty"
        return {
            "version": "0.1.0",
            "uptime_s": 5400 if busy else 12,
            "series": len(self.series),
            "rows_per_s": 318.4 if busy else 0,
            "addresses": {"http": "127.0.0.1:8642", "mqtt": "127.0.0.1:1883"},
            "ready": [],
            "demo": {"faults": FAULTS, "injected": self.injected} if self.scene == "busy" else None,
            "clock_ms": int(time.time() * 1000),
        }

    def alarms(self) -> dict[str, object]:
        if self.scene != "busy":
            return {"open": [], "recent": []}
        star = next(s for s in self.series if s["__name__"] == "temperature" and s["city"] == "Mumbai")
        pump = next(s for s in self.series if s["__name__"] == "pump_pressure_bar")
        other = next(s for s in self.series if s["__name__"] == "humidity")
        now = self.started

        def one(labels: dict[str, str], rule: str, state: str, ago: float, severity: str, **more: object) -> dict:
            t = np.array([now - (2 * 60_000 if state != "resolved" else ago - 60_000)])
            row = {k: float(v[0]) for k, v in judged(labels, t, self.started).items()}
            return {
                "rule": rule,
                "series": text_of(labels),
                "state": state,
                "since_ms": int(now - ago),
                "time_ms": int(now - ago + 120_000),
                "severity": severity,
                "incident": 7,
                **row,
                "why": why(row["value"], row),
                **more,
            }

        return {
            "open": [
                one(star, "anomaly", "firing", 9 * 60_000, "critical"),
                one(other, "anomaly", "pending", 2 * 60_000, "minor", incident=None),
                one(
                    pump,
                    "anomaly",
                    "no-data",
                    31 * 60_000,
                    "warning",
                    value=None,
                    score=None,
                    why="No sample for 31 minutes; one was expected every 10 seconds",
                ),
            ],
            "recent": [
                one(star, "anomaly", "resolved", 101 * 60_000, "major"),
                one(star, "anomaly", "firing", 101 * 60_000, "major"),
            ],
        }

    def incidents(self) -> list[dict[str, object]]:
        """One that is open, of two alarms, and one that is over."""
        found = self.alarms()
        if not found["open"]:
            return []
        member = {"reason": "", "labels": {}, "annotations": {}}
        star, _, pump = (one | member for one in found["open"])  # type: ignore[attr-defined]
        pump["reason"] = "moves together with temperature: correlation 0.93 at a lag of 2m"
        over = found["recent"][0] | member  # type: ignore[index]
        base = {"acknowledgement": None, "first": 0, "strongest": 0, "resolved_ms": None}
        return [
            base | {"id": 7, "since_ms": star["since_ms"], "state": "firing", "severity": "critical", "size": 2,
                    "members": [star, pump]},
            base | {"id": 6, "since_ms": over["since_ms"], "state": "resolved", "severity": "major", "size": 1,
                    "members": [over], "resolved_ms": over["time_ms"]},
        ]  # fmt: skip

    def sources(self) -> list[dict[str, object]]:
        if self.scene == "empty":
            return []
        now = int(time.time() * 1000)

        def one(name: str, transport: str, since: int, seen: int, payloads: int, rows: int, **more: object) -> dict:
            known = {"name": name, "transport": transport, "first_ms": now - since, "last_ms": now - seen}
            counts = {"payloads": payloads, "stored": rows, "late": 0, "duplicate": 0, "overwritten": 0, "events": 0}
            found = {
                **known,
                **counts,
                "best_effort_rows": 0,
                "rejected": {},
                "dropped": {},
                "problem": "",
                "remedy": "",
                **more,
            }
            lost = sum(found["rejected"].values()) + sum(found["dropped"].values())
            return {**found, "received": found["stored"] + found["duplicate"] + found["overwritten"] + lost}

        asked = "This client asked for MQTT 5; the built-in broker speaks MQTT 3.1.1."
        remedy = "Connect with protocol version 4 (mosquitto_pub -V mqttv311), or attach a broker that speaks MQTT 5."
        return [
            one("sensors/mumbai", "mqtt", 3 * DAY, 1200, 25_920, 51_840, best_effort_rows=51_840),
            one("gateway-17", "mqtt", 40_000, 9000, 0, 0, problem=asked, remedy=remedy),
            one("host", "collector", 3 * DAY, 400, 1_296_000, 14_256_000),
            one(
                "127.0.0.1 /write",
                "http",
                2 * HOUR,
                70_000,
                412,
                20_600,
                late=40,
                duplicate=500,
                overwritten=2,
                rejected={"future": 12, "bad line": 3},
            ),
            one("syslog:router", "syslog", 2 * HOUR, 70_000, 7, 7, events=7, dropped={"queue_full": 2}),
        ]

    def view(self, text: str, start: float, end: float, width: int) -> dict[str, object] | None:
        labels = next((s for s in self.series if text_of(s) == text), None)
        if labels is None:
            return None
        end = min(end, time.time() * 1000)
        start = max(start, self.started - 21 * DAY)
        if text in self.extra:  # pushed by a test: only those rows
            rows = np.array(self.extra[text])
        step = max(10_000, (end - start) / max(width, 50))
        t = np.arange(math.ceil(start / step) * step, end, step)
        row = judged(labels, t, self.started)
        if text in self.extra:
            t = np.append(t, rows[:, 0])
            row["value"] = np.append(row["value"], rows[:, 1])
            for key in ("yhat", "lower", "upper", "score"):
                row[key] = np.append(row[key], np.full(len(rows), np.nan))
        unit = shape_of(labels)[0]
        anomalies = []
        for i in np.flatnonzero(row["score"] >= 1):
            one = {k: float(v[i]) for k, v in row.items()}
            anomalies.append(
                {
                    "time": int(t[i]),
                    "severity": severity_of(one["score"]),
                    "why": why(one["value"], one),
                    **one,
                }
            )
        star = labels.get("city") == "Mumbai" and labels["__name__"] == "temperature"
        alarms = (
            [
                {
                    "start": int(self.started - 9 * 60_000),
                    "end": None,
                    "rule": "anomaly",
                    "state": "firing",
                    "severity": "critical",
                },
                {
                    "start": int(self.started - 101 * 60_000),
                    "end": int(self.started - 92 * 60_000),
                    "rule": "anomaly",
                    "state": "resolved",
                    "severity": "major",
                },
            ]
            if star and self.scene == "busy"
            else []
        )
        return {
            "series": text,
            "unit": unit,
            "kind": "gauge",
            "times": t.astype(int).tolist(),
            "values": numbers(row["value"]),
            "yhat": numbers(row["yhat"]),
            "lower": numbers(row["lower"]),
            "upper": numbers(row["upper"]),
            "anomalies": anomalies[:200],
            "alarms": alarms,
            "thresholds": thresholds_of(labels, t, row["value"]),
            "decimated": step > 10_000,
        }
