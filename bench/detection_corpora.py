"""What `bench/detection.py` measures on: made-up minute KPIs with faults, real servers and loads, data of packages.

A corpus is series in columns. Rows before `first_ns` are there to be learned; `half_ns` parts what a threshold is
chosen on from what it is applied to. Where `label` is None nothing is known to be wrong,
and every alert counts as false.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from almenara.analysis.occasions import Calendar
from almenara.model.time import DAY_NS, NS
from almenara.testing.planted.signals import WEEK, bump, hour_of, minutes, noise, wander, weekday_of, work

FIVE_MINUTES_S, HOUR_S = 300, 3600


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """id int32[n], time int64[n] ns UTC, value float64[n], ordered by (id, time); label bool[n] or None."""

    name: str
    id: np.ndarray
    time: np.ndarray
    value: np.ndarray
    label: np.ndarray | None
    first_ns: int
    half_ns: int
    timezone: str = "UTC"
    calendars: tuple[Calendar, ...] = ()
    servers: int = 0  # where not 0: equal shares of the series, in order, belong to so many; labels are theirs


def corpus_of(name: str, times: np.ndarray, values: np.ndarray, label: np.ndarray | None, first: int, **more) -> Corpus:
    """From one time axis int64[n] and columns [n, m]; first: the row from which on verdicts count."""
    n, m = values.shape
    id, time, value = np.repeat(np.arange(m, dtype=np.int32), n), np.tile(times, m), values.T.ravel().astype(float)
    labels = None if label is None else label.T.ravel()
    first_ns, last_ns = int(times[first]), int(times[-1])
    return Corpus(name, id, time, value, labels, first_ns, (first_ns + last_ns) // 2, **more)


# --- made up ----------------------------------------------------------------------------------------------------------


def _kpis(rng: np.random.Generator, times: np.ndarray) -> Iterator[np.ndarray]:
    """Ten kinds of figures of services and machines, a column each."""
    n, load = len(times), 0.15 + work(times, weekend=0.5) + 0.5 * bump(hour_of(times), 20, 2)
    slow, fast = wander(rng, n, 10, 720).T, noise(rng, n, 10).T
    size = rng.uniform(0.5, 2, 10)
    yield rng.poisson(200 * size[0] * load * np.exp(0.08 * slow[0])).astype(float)  # requests
    yield 30 * np.exp(0.25 * load + 0.1 * slow[1] + 0.15 * fast[1])  # response time
    yield rng.poisson(0.05 * size[2] * load).astype(float)  # errors
    yield np.clip(np.round(10 + 45 * load + 3 * fast[3] + 4 * slow[3], 1), 0, 100)  # processor
    yield 4000 + 200 * slow[4] + 20 * fast[4] + 0.01 * np.arange(n)  # memory
    yield np.round(21 + 3 * bump(hour_of(times), 15, 4) + 0.8 * slow[5] + 0.1 * fast[5], 2)  # temperature
    yield 1e6 * np.exp(0.9 * load + 0.15 * slow[6] + 0.3 * fast[6])  # bytes sent
    yield rng.poisson(3 + 40 * load * (weekday_of(times) < 5)).astype(float)  # log-ins
    yield 500 + 80 * bump(hour_of(times), 2.5, 0.3) + 5 * fast[8]  # a nightly job
    yield 300 + 40 * slow[9] + 3 * fast[9]  # a level that wanders


def _residual(values: np.ndarray) -> float:
    """Size of what is left after the same minute of the week before: a robust standard deviation; of rare counts, where
    that is 0, the plain one."""
    step = np.abs(values[WEEK:] - values[:-WEEK])
    return (1.4826 * float(np.median(step)) or float(step.std())) / 2**0.5


def _fault(rng: np.random.Generator, kind: int, values: np.ndarray, size: float) -> np.ndarray:
    """Those rows with a fault of one of five kinds: spike, drop, level, slope, unrest."""
    n, height = len(values), rng.uniform(5, 12) * size
    sign = rng.choice([-1.0, 1.0])
    shapes = (height, -height, sign * height, sign * height * np.linspace(0.5, 1.2, n), height * rng.normal(size=n))
    changed = np.maximum(values + shapes[kind], min(0.0, float(values.min())))
    return np.round(changed) if (values == np.round(values)).all() else changed  # counts stay counts


def kpis(each: int, *, faults: bool) -> Corpus:
    """Six weeks of minutes, 10 * each series; with faults: ten a series in the last four weeks, of 2 to 90 minutes."""
    times, columns, labels = minutes(6 * WEEK), [], []
    rng = np.random.default_rng(2026)
    for _ in range(each):
        for values in _kpis(rng, times):
            label, size = np.zeros(len(times), bool), _residual(values)
            for turn in range(10 if faults else 0):
                kind = int(rng.integers(5))
                length = int(rng.integers(2, 5)) if kind < 2 else int(rng.integers(15, 90))
                start = 2 * WEEK + turn * (4 * WEEK // 10) + int(rng.integers(0, 3800))
                part = slice(start, start + length)
                values[part], label[part] = _fault(rng, kind, values[part].astype(float), size), True
            columns.append(values)
            labels.append(label)
    label = np.stack(labels, axis=1) if faults else None
    name = f"minute KPIs, {10 * each} made up" + ("" if faults else ", clean")
    return corpus_of(name, times, np.stack(columns, axis=1), label, 2 * WEEK)


# --- real, labelled ---------------------------------------------------------------------------------------------------


def servers(folder: Path, names: tuple[str, ...]) -> Iterator[Corpus]:
    """The servers of the ASD set: each metric by itself, with the segments it is named responsible for; and each server
    as a whole, whose score is the highest of its metrics'. Their times are not known: they begin on a Monday here."""
    columns, by_metric, by_server = [], [], []
    for name in names:
        with np.load(folder / f"{name}.npz") as kept:
            train, test, label, text = kept["train"], kept["test"], kept["label"] > 0, str(kept["interpretation"])
        rows, mine = len(train) + len(test), np.zeros((len(train) + len(test), train.shape[1]), bool)
        for start, end, metrics in json.loads(text):
            mine[len(train) + start : len(train) + end, np.array(metrics) - 1] = True
        whole = np.zeros(rows, bool)
        whole[len(train) :] = label
        columns.append(np.concatenate([train, test]).astype(float))
        by_metric.append(mine & whole[:, None])
        by_server.append(np.repeat(whole[:, None], train.shape[1], axis=1))
    times, first = minutes(len(columns[0]), FIVE_MINUTES_S), len(train)
    values = np.hstack(columns)
    one_by_one = corpus_of(f"{len(names)} real servers, by metric", times, values, np.hstack(by_metric), first)
    yield one_by_one
    label = np.hstack(by_server).T.ravel()
    yield replace(one_by_one, name=f"{len(names)} real servers, as wholes", label=label, servers=len(names))
    learned = slice(0, first)
    yield corpus_of(f"{len(names)} real servers, before the test", times[learned], values[learned], None, first // 3)


def load(folder: Path, *, faults: bool) -> Corpus:
    """Three years of electricity load of three zones, an hour a row; with faults: 20 a zone and year are put in."""
    import pandas as pd

    frame = pd.read_csv(folder / "pjm_hourly_2008_2010.csv.gz")
    wall = pd.DatetimeIndex(pd.to_datetime(frame.pop("Datetime")))
    again = wall.duplicated()  # the hour that comes twice in autumn
    zone = "America/New_York"
    utc = wall.tz_localize(zone, ambiguous=~again, nonexistent="shift_forward").tz_convert("UTC")
    times = utc.tz_localize(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
    keep = np.r_[True, np.diff(times) > 0]
    times, values = times[keep], frame.to_numpy(float)[keep]
    label, rng, first = np.zeros(values.shape, bool), np.random.default_rng(7), 8 * 168
    for column in range(values.shape[1] if faults else 0):
        for start in np.arange(first, len(times) - 400, (len(times) - first) // 60):
            begin = int(start) + int(rng.integers(0, 350))
            part = slice(begin, begin + int(rng.choice([1, 3, 8, 20])))
            values[part, column] *= 1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.3)
            label[part, column] = True
    name = "load of 3 zones, hourly" + (", faults put in" if faults else "")
    return corpus_of(name, times, values, label if faults else None, first, timezone=zone)


# --- of packages ------------------------------------------------------------------------------------------------------


def _taylor() -> tuple[np.ndarray, np.ndarray]:
    from pmdarima.datasets import load_taylor

    values = np.asarray(load_taylor(), float)
    return minutes(len(values), 1800), values[:, None]


def _weather() -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    path = Path(str(files("pvlib"))) / "data" / "703165TY.csv"
    wanted = ["GHI (W/m^2)", "Dry-bulb (C)", "RHum (%)", "Pressure (mbar)", "Wspd (m/s)"]
    values = pd.read_csv(path, skiprows=1)[wanted].to_numpy(float)
    return minutes(len(values), HOUR_S), values


def _carbon() -> tuple[np.ndarray, np.ndarray]:
    from statsmodels.datasets import co2

    frame = co2.load_pandas().data.dropna()
    times = frame.index.to_numpy().astype("datetime64[ns]").astype(np.int64)
    return times, frame.to_numpy(float)


def _water() -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    frame = pd.read_csv(Path(str(files("river"))) / "datasets" / "water-flow.csv")
    times = pd.to_datetime(frame["Time"], utc=True).dt.tz_localize(None).to_numpy()
    return times.astype("datetime64[ns]").astype(np.int64), frame.iloc[:, 1:].to_numpy(float)


#: Name, loader, package that ships it, share of the rows to learn from. Licences: docs/explanation/detection.md.
PACKAGES: tuple[tuple[str, Callable[[], tuple[np.ndarray, np.ndarray]], float], ...] = (
    ("demand, half hours (pmdarima)", _taylor, 0.34),
    ("weather of a year, hourly (pvlib)", _weather, 0.15),
    ("carbon dioxide, weekly (statsmodels)", _carbon, 0.1),
    ("water flow, hourly (river)", _water, 0.3),
)


def of_packages() -> Iterator[Corpus | str]:
    """One corpus a data set; the name alone where its package is not installed."""
    for name, read, learn in PACKAGES:
        try:
            times, values = read()
        except ImportError:
            yield name
            continue
        yield corpus_of(name, times, values, None, int(learn * len(times)))


def weeks_of(corpus: Corpus) -> float:
    """Series times weeks from `first_ns` on."""
    total = 0.0
    for series in np.unique(corpus.id):
        time = corpus.time[(corpus.id == series) & (corpus.time >= corpus.first_ns)]
        total += (time[-1] - time[0]) / (7 * DAY_NS)
    return total / max(1, len(np.unique(corpus.id)) // corpus.servers if corpus.servers else 1)


__all__ = ["NS", "Corpus", "kpis", "load", "of_packages", "servers", "weeks_of"]
