"""What `almenara import` says to a hub: bodies until they are kept, however long it takes, and what became of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from almenara.codecs.columns import Columns, split
from almenara.model.errors import AlmenaraError, MissingExtra
from almenara.model.series import Series, encode_key
from almenara.plugin.contracts import Context

if TYPE_CHECKING:
    import httpx

    from almenara.model.batch import Batch

#: A hub that does not answer is asked again for so long: it may be starting.
AWAY_S = 300.0
_LONGEST_WAIT_S = 30.0
_NAMES = 200  # names of series in one selector


@dataclass(frozen=True, slots=True)
class Answer:
    """What a hub said to a body. complaint: of rows that it turned away."""

    complaint: str = ""


class Hub:
    """One hub over HTTP. `told` hears why it is waited for, and "" when it goes on."""

    def __init__(self, url: str, token: str, told: Callable[[str], None] = lambda why: None):
        try:
            from almenara.client import connect
        except ModuleNotFoundError as error:
            raise MissingExtra("talking to a hub", "notebook") from error
        self._client, self.told = connect(url, token or None, timeout_s=600), told
        self.url = self._client.url

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def write(self, source: str, key: str, body: bytes) -> Answer:
        """Send a body until it is kept; sent again it is answered as before. Raises AlmenaraError."""
        path = "/ingest/columns/" + quote(source, safe="")
        answer = self._ask("POST", path, content=body, headers={"idempotency-key": key})
        words = _words(answer)
        if answer.status_code == 204:
            return Answer()
        if answer.status_code == 400 and words.startswith("partial write"):
            return Answer(words)
        raise self._refused(answer, words)

    def json(self, method: str, path: str, form: list[tuple[str, str]] | None = None) -> Any:
        """What a path answers. Raises AlmenaraError."""
        body = {"data": _form(form)} if form else {}
        answer = self._ask(method, path, **body)
        if answer.status_code >= 300:
            raise self._refused(answer, _words(answer))
        return json.loads(answer.content)

    def settle(self) -> None:
        """Returns when all that was kept by now is stored and judged."""
        self.json("POST", "/api/v1/query", [("query", "1")])

    def ledger(self, source: str) -> dict[str, Any]:
        """The line of one source; empty where there is none yet."""
        found = self.json("GET", "/api/v1/ledger")["sources"]
        return next((one for one in found if one["name"] == source), {})

    def judge_again(self, names: Iterable[str] = ()) -> int:
        """Have the series of these names judged again; says how many wait for it."""
        for some in _groups(sorted(set(names))):
            self.json("POST", "/api/v1/judge-again", [("match[]", f'{{__name__="{name}"}}') for name in some])
        return int(self.json("GET", "/api/v1/judge-again")["waiting"])

    def rows(self, selectors: Iterable[str], start: int, end: int) -> Iterator[Batch]:
        """Stored rows of the series that the selectors select, start <= time < end in ns."""
        form = [("match[]", one) for one in selectors]
        form += [("start", _ns(start)), ("end", _ns(end)), ("format", "columns")]
        codec, buffer = Columns(), bytearray()
        with self._streamed("/api/v1/export", form) as parts:
            for part in parts:
                buffer += part
                for one in split(buffer):
                    yield codec.decode(one, Context()).batch
        if buffer:
            raise AlmenaraError(f"{self.url}: the answer was cut short after {len(buffer)} bytes of a part")

    def anomalies(self, wanted: set[bytes], names: Iterable[str], start: int, end: int) -> dict[bytes, int]:
        """How many rows of each series were over the limit, by the key of the series, where it is wanted."""
        counts: dict[bytes, int] = {}
        for some in _groups(sorted(set(names))):
            for batch in self.rows([f'anomaly{{of="{name}"}}' for name in some], start, end):
                over = np.bincount(batch.id[batch.value >= 1])
                for at in np.flatnonzero(over).tolist():
                    key = _judged(Series.from_key(batch.series.keys[at]))
                    if key in wanted:
                        counts[key] = counts.get(key, 0) + int(over[at])
        return counts

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """An answer that is no "come back later". Raises AlmenaraError where nobody answers for AWAY_S."""
        import httpx

        pause_s, away_s = 0.5, time.monotonic()
        while True:
            try:
                answer = self._client._http.request(method, path, **request)
            except httpx.TransportError as error:
                if time.monotonic() - away_s > AWAY_S:
                    raise AlmenaraError(
                        f"no hub answers at {self.url} ({error}); start one: `almenara up`, then give the same command "
                        "again, which goes on from here"
                    ) from error
                self._wait(pause_s, f"no hub answers at {self.url}")
                pause_s = min(2 * pause_s, 5.0)
                continue
            if answer.status_code not in (429, 503, 507):
                self.told("")
                return answer
            wait = answer.headers.get("retry-after", "")
            self._wait(min(float(wait), _LONGEST_WAIT_S) if wait.isdigit() else 1.0, _words(answer))
            away_s = time.monotonic()

    def _wait(self, seconds: float, why: str) -> None:
        self.told(why)
        time.sleep(seconds)

    @contextmanager
    def _streamed(self, path: str, form: list[tuple[str, str]]) -> Iterator[Iterator[bytes]]:
        import httpx

        try:
            with self._client._http.stream("POST", path, data=_form(form)) as answer:
                if answer.status_code >= 300:
                    answer.read()
                    raise self._refused(answer, _words(answer))
                yield answer.iter_raw()
        except httpx.TransportError as error:
            raise AlmenaraError(f"{self.url}{path}: {type(error).__name__}: {error}") from error

    def _refused(self, answer: httpx.Response, words: str) -> AlmenaraError:
        if answer.status_code in (401, 403):
            return AlmenaraError(f"{self.url}: {words}; give the hub's token: --token or ALMENARA_TOKEN")
        return AlmenaraError(f"{self.url}: {answer.status_code}: {words}")


def _form(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def _words(answer: httpx.Response) -> str:
    try:
        return str(json.loads(answer.content)["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or answer.reason_phrase


def _ns(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9:09d}"


def _judged(anomaly: Series) -> bytes:
    """The key of the series that an anomaly is of."""
    labels = {name: value for name, value in anomaly.labels if name not in ("of", "detector")}
    return encode_key(dict(anomaly.labels).get("of", ""), labels)


def _groups(names: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(names), _NAMES):
        yield names[at : at + _NAMES]
