"""A hub in a notebook: `al.connect(url).query("rate(cpu[5m])", since="1h")` gives a DataFrame.

Speaks the hub's HTTP API (Prometheus' /api/v1, plus /api/v1/export and /write). Needs the extra `notebook`; pandas or
polars is imported when a frame of it is asked for. TLS certificates are verified, redirects are not followed, and the
token goes to no other host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from almenara.model.errors import AlmenaraError, MissingExtra, QueryError, Refused
from almenara.model.series import Series
from almenara.model.time import NS, format_time, ns_from_datetime, parse_duration, parse_time
from almenara.query import NAME, frames

if TYPE_CHECKING:
    import httpx
    import numpy as np

Time = str | int | float | datetime
Duration = str | int | float | timedelta
Frame = Literal["pandas", "polars"]

POINTS = 500  # about as many steps a query has where none is asked for
MAX_ANSWER_BYTES = 1 << 30
WRITE_ROWS = 50_000  # rows of one write

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.DOTALL)
_METRIC = re.compile(r"[a-zA-Z_:][\w:]*", re.ASCII)
_ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


def connect(url: str = "http://127.0.0.1:8642", token: str | None = None, timeout_s: float = 60) -> Client:
    """A client of the hub at `url`. Nothing is sent yet. Raises MissingExtra without httpx."""
    return Client(url, token, timeout_s)


class Client:
    """Queries and writes over HTTP; use it from one thread, and `close` it, or use it in `with`.

    Every method raises AlmenaraError where the hub cannot be reached, QueryError with the hub's words where it refuses
    a query, Refused where it cannot take a write now.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 60):
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("talking to a hub from Python", "notebook") from error
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AlmenaraError(f"url: found {url!r}, expected one such as http://127.0.0.1:8642")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=timeout_s,
            trust_env=parts.hostname not in _LOOPBACK,  # a proxy cannot reach this machine's loopback
        )

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def query(
        self,
        expr: str,
        since: Duration = "1h",
        start: Time | None = None,
        end: Time | None = None,
        step: Duration | None = None,
        frame: Frame = "pandas",
        long: bool = False,
    ) -> Any:
        """A PromQL expression from start to end, every step, as a DataFrame.

        since: how far back from `end` where no `start` is given; the end is the hub's now. step: by default such that
        there are about 500 points. Wide (the default): the times in UTC are the index (pandas) or the column `time`
        (polars), one column a series, gaps NaN (null). long: columns time, series, value, gaps left out. A time
        without a zone is UTC.
        """
        end_ns = self.now() if end is None else _time_ns(end)
        start_ns = end_ns - _duration_ns(since) if start is None else _time_ns(start)
        step_ns = default_step_ns(end_ns - start_ns) if step is None else _duration_ns(step)
        asked = {"query": expr, "start": _seconds(start_ns), "end": _seconds(end_ns), "step": _seconds(step_ns)}
        result = self._ask("/api/v1/query_range", asked)["result"]
        points = [(_name(one["metric"]), one["values"]) for one in result]
        return frames.from_points(points, frame, long)

    def query_raw(
        self,
        selector: str,
        since: Duration = "1h",
        start: Time | None = None,
        end: Time | None = None,
        frame: Frame = "pandas",
    ) -> Any:
        """Samples as they are stored, start <= time < end: columns time (UTC, exact to the ns), series, value."""
        asked = {"match[]": selector, "format": "csv"}
        if start is None and end is None:
            asked["since"] = _seconds(_duration_ns(since))
        else:
            end_ns = self.now() if end is None else _time_ns(end)
            start_ns = end_ns - _duration_ns(since) if start is None else _time_ns(start)
            asked |= {"start": format_time(start_ns), "end": format_time(end_ns)}
        return frames.from_csv(self._send("POST", "/api/v1/export", data=asked), frame)

    def series(self, match: str = '{__name__=~".+"}') -> list[str]:
        """Names of the series that a selector selects, as PromQL writes them, sorted."""
        return sorted(_name(labels) for labels in self._ask("/api/v1/series", {"match[]": match}))

    def now(self) -> int:
        """The hub's clock, in ns (milliseconds precise): it may differ from this machine's."""
        return round(float(self._ask("/api/v1/query", {"query": "1"})["result"][0]) * 1000) * (NS // 1000)

    def write(self, data: Any, precision: str = "ns") -> int:
        """Write samples; returns how many rows, once the hub has them on disk.

        data: Influx line protocol (str or bytes; times in `precision`), or a pandas or polars DataFrame as `query` and
        `query_raw` give it, wide or long. Rows that are NaN or null are left out. Raises Refused (try again later);
        AlmenaraError with the hub's words where rows are wrong.
        """
        if isinstance(data, str | bytes):
            lines = data.encode() if isinstance(data, str) else data
            self._send("POST", "/write", params={"precision": precision}, content=lines)
            return sum(1 for line in lines.splitlines() if line.strip() and not line.lstrip().startswith(b"#"))
        rows = 0
        for chunk in _line_protocol(frames.series_of(data)):
            self._send("POST", "/write", params={"precision": "ns"}, content="".join(chunk).encode())
            rows += len(chunk)
        return rows

    def backtest(
        self,
        match: str | Sequence[str] = (),
        since: Duration = "30d",
        *,
        detector: str = "",
        options: Mapping[str, Any] | None = None,
        budget_per_week: float | None = None,
        progress: Callable[[Mapping[str, int]], None] | None = None,
    ) -> dict[str, Any]:
        """What a detector would have flagged over stored history with these options, beside today's.

        match: selectors; none: every series. options: those that differ from today's; budget_per_week: a p_limit from
        so many anomalies a week of all these series. progress: called with `series` done, `of` all, `rows` judged.
        Gives the API's `result` (docs/howto/backtest.md). Raises QueryError, Refused, AlmenaraError.
        """
        asked = {
            "match": [match] if isinstance(match, str) else list(match),
            "since": _seconds(_duration_ns(since)),
            "detector": detector,
            "options": dict(options or {}),
            "budget_per_week": budget_per_week,
        }
        return self._long("/api/v1/backtest", asked, progress)

    def backtest_rules(
        self, config: Mapping[str, Any], since: Duration = "30d", match: Sequence[str] = (), *,
        progress: Callable[[Mapping[str, float]], None] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Whom other rules and policies would have told of what over stored history, beside what was.

        config: the tables `rules`, `policies`, `inhibit`, `site` and `notifiers` (their `match`), as in hub.toml.
        progress: called with `done`, 0 to 1, and `rows` judged. Gives the API's `result` (docs/howto/backtest.md).
        Raises QueryError, Refused, AlmenaraError.
        """
        asked = {"config": dict(config), "since": _seconds(_duration_ns(since)), "match": list(match)}
        return self._long("/api/v1/backtest/rules", asked, progress)

    def _long(self, path: str, asked: Mapping[str, Any], progress: Callable[[Any], None] | None) -> dict[str, Any]:
        """The result of work that tells its progress a line at a time."""
        result: dict[str, Any] = {}
        for line in self._stream("POST", path, json=asked, timeout=None):
            said = json.loads(line)
            if "error" in said:
                raise AlmenaraError(f"backtest: {said['error']}")
            if "progress" in said and progress is not None:
                progress(said["progress"])
            result = said.get("result", result)
        if not result:
            raise AlmenaraError(f"{self.url}: the hub ended the backtest before it was done")
        return result

    def _ask(self, path: str, form: Mapping[str, str]) -> Any:
        body = self._send("POST", path, data=dict(form))
        try:
            return json.loads(body)["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise AlmenaraError(
                f"{self.url}{path}: found {body[:80]!r}, expected a hub's JSON; is this a hub?"
            ) from error

    def _stream(self, method: str, path: str, **request: Any) -> Iterator[str]:
        """The lines of an answer as they come."""
        with self._told(path), self._http.stream(method, path, **request) as answer:
            if answer.status_code >= 300:
                raise _refusal(answer, _read(answer), path)
            yield from answer.iter_lines()

    def _send(self, method: str, path: str, **request: Any) -> bytes:
        with self._told(path), self._http.stream(method, path, **request) as answer:
            body = _read(answer)
        if answer.status_code >= 300:
            raise _refusal(answer, body, path)
        return body

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Errors of the link as ours."""
        import httpx

        try:
            yield
        except httpx.ConnectError as error:
            raise AlmenaraError(
                f"no hub answers at {self.url} ({error}); start one: `almenara up`, or give another address"
            ) from error
        except httpx.HTTPError as error:
            raise AlmenaraError(f"{self.url}{path}: {type(error).__name__}: {error}") from error


def default_step_ns(range_ns: int) -> int:
    """A round step that gives about POINTS points over a range: 1 s, 2 s, 5 s ... 1 d, whole days."""
    wanted_s = range_ns / NS / POINTS
    step_s = next((s for s in _STEPS_S if s >= wanted_s), None)
    return (step_s if step_s is not None else -(-range_ns // (NS * POINTS * 86_400)) * 86_400) * NS


def parse_series(text: str) -> Series:
    """`cpu_usage{host="a"}` as a Series. Raises AlmenaraError."""
    name, brace, rest = text.strip().partition("{")
    labels: dict[str, str] = {}
    inside = rest[:-1] if brace and rest.endswith("}") else None
    at = 0
    while inside and at < len(inside):
        pair = _LABEL.match(inside, at)
        if pair is None:
            raise AlmenaraError(f'series {text!r}: found {inside[at : at + 40]!r}, expected label="value"')
        labels[pair[1]] = re.sub(r"\\(.)", lambda m: _ESCAPED.get(m[1], m[0]), pair[2], flags=re.DOTALL)
        at = pair.end()
    name = labels.pop(NAME, "") or name.strip()
    if not _METRIC.fullmatch(name) or (brace and inside is None):
        raise AlmenaraError(f'series: found {text!r}, expected one such as cpu_usage{{host="a"}}')
    return Series.of(name, **labels)


def _line_protocol(series: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> Iterator[list[str]]:
    """Lines of Influx line protocol, WRITE_ROWS at a time; the field `value` stands for the series itself."""
    lines: list[str] = []
    for text, time, value in series:
        one = parse_series(text)
        head = one.name + "".join(f",{label}={_tag(v)}" for label, v in one.labels) + " value="
        known = value == value
        pairs = zip(value[known].tolist(), time[known].tolist(), strict=True)
        lines += [f"{head}{v!r} {t}\n" for v, t in pairs]
        while len(lines) >= WRITE_ROWS:
            yield lines[:WRITE_ROWS]
            lines = lines[WRITE_ROWS:]
    if lines:
        yield lines


def _tag(text: str) -> str:
    if "\n" in text or "\r" in text or text.endswith("\\"):
        raise AlmenaraError(
            f"label value {text!r}: line protocol has no text for line breaks and a backslash at the end"
        )
    return text.replace(",", "\\,").replace(" ", "\\ ").replace("=", "\\=")


def _name(labels: Mapping[str, str]) -> str:
    """Labels (the name under `__name__`) as PromQL writes them."""
    pairs = tuple(sorted((k, v) for k, v in labels.items() if k != NAME))
    return str(Series(labels.get(NAME, ""), pairs)) or "{}"


def _time_ns(time: Time) -> int:
    try:
        if isinstance(time, datetime):
            return ns_from_datetime(time if time.tzinfo else time.replace(tzinfo=UTC))
        return parse_time(time)
    except ValueError as error:
        raise AlmenaraError(f"time: {error}") from error


def _duration_ns(duration: Duration) -> int:
    try:
        if isinstance(duration, timedelta):
            return round(duration.total_seconds() * NS)
        return round((parse_duration(duration) if isinstance(duration, str) else duration) * NS)
    except ValueError as error:
        raise AlmenaraError(f"duration: {error}") from error


def _seconds(ns: int) -> str:
    """Seconds with three decimals, the precision of Prometheus' API."""
    ms = ns // (NS // 1000)
    return f"{ms // 1000}.{ms % 1000:03d}"


def _read(answer: httpx.Response) -> bytes:
    """The body, up to MAX_ANSWER_BYTES."""
    parts, size = [], 0
    for part in answer.iter_bytes():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise QueryError(f"the answer is longer than {MAX_ANSWER_BYTES >> 20} MiB; ask for less at a time")
        parts.append(part)
    return b"".join(parts)


def _refusal(answer: httpx.Response, body: bytes, path: str) -> AlmenaraError:
    """The error that a refused request becomes, in the hub's words."""
    try:
        words = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        words = body[:200].decode(errors="replace") or answer.reason_phrase
    status = answer.status_code
    if status in (401, 403):
        return AlmenaraError(f"{answer.url}: {words}; give the hub's token: connect(url, token=...)")
    if "retry-after" in answer.headers:
        wait = answer.headers["retry-after"]
        return Refused(words, float(wait) if wait.isdigit() else 1.0)
    if path.startswith("/api/v1/") and 400 <= status < 500 and status != 404:
        return QueryError(words)
    return AlmenaraError(f"{answer.url}: {status}: {words}")
