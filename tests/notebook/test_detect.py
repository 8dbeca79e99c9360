"""`al.detect`: what the hub would have said of each row, whatever the frame looks like."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import almenara as al
from almenara.detectors.seasonal import Seasonal
from almenara.model.errors import AlmenaraError, ConfigError, PluginError
from almenara.model.series import Series
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS
from almenara.pipeline.hub import Options
from almenara.pipeline.judge import Watch
from almenara.testing.hub import Clock, pipeline

START = 1_790_000_000 * 10**9 // DAY_NS * DAY_NS
ANSWERS = ["score", "alert", "severity", "yhat", "yhat_lower", "yhat_upper", "why"]


def wave(days: int = 4, every_ns: int = 5 * MINUTE_NS, start: int = START, seed: int = 1) -> pd.DataFrame:
    """A daily wave with a fault of ten rows at its end, ns UTC as datetimes."""
    time = np.arange(start, start + days * DAY_NS, every_ns, dtype=np.int64)
    value = 50 + 10 * np.sin(2 * np.pi * (time % DAY_NS) / DAY_NS)
    value += np.random.default_rng(seed).normal(0, 0.5, len(time))
    value[-40:-30] += 30
    return pd.DataFrame({"time": time.view("datetime64[ns]"), "value": value})


def two() -> pd.DataFrame:
    """Two series, long, their rows interleaved, one of them with gaps that are known."""
    a, b = wave(seed=1).assign(series='load{host="a"}'), wave(seed=2).assign(series='load{host="b"}')
    b.loc[b.index[500:520], "value"] = np.nan
    return pd.concat([a, b]).sort_values(["time", "series"], kind="stable").reset_index(drop=True)


def same(one: Any, other: Any) -> None:
    """Two answers, of any library, say the same to the bit."""
    for name in ANSWERS:
        a, b = np.asarray(one[name]), np.asarray(other[name])
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            assert a.tolist() == b.tolist(), name


def test_one_row_answers_each_row_under_its_index() -> None:
    df = wave().set_index(pd.Index(range(1000, 1000 + 4 * 288)))
    out = al.detect(df)
    assert list(out.columns) == ANSWERS
    assert out.index.equals(df.index)
    assert out["alert"].sum() == 1
    first = df.loc[out["alert"]].iloc[0]
    assert first["time"] == df["time"].iloc[-40]
    row = out[out["alert"]].iloc[0]
    assert row["severity"] == "critical"
    assert row["yhat_lower"] < row["yhat"] < row["yhat_upper"] < first["value"]
    assert row["why"].startswith("Higher than usual") or row["why"].startswith("Rose suddenly")
    assert set(out["why"][out["score"] < 1]) == {""}
    assert set(out["why"][out["score"].isna()]) == {"Not learned yet"}


def test_an_anomaly_is_marked_once_where_it_begins_also_across_missing_values() -> None:
    df = wave()
    df.loc[df.index[-37:-35], "value"] = np.nan
    out = al.detect(df)
    assert np.flatnonzero(out["alert"]).tolist() == [len(df) - 40]
    assert out["why"].iloc[-36] == "No value"


@pytest.mark.parametrize("timezone", ["UTC", "America/New_York"])
def test_the_answer_is_that_of_the_hub_to_the_bit(tmp_path: Path, timezone: str) -> None:
    df = two()
    df.loc[df.index[-5:], "time"] = df["time"].iloc[0] - pd.Timedelta("1h")  # late ones, of one time
    counter = wave(seed=3).assign(series="hits_total")
    counter["value"] = counter["value"].cumsum() % 20_000  # with resets
    df = pd.concat([df, counter], ignore_index=True).sample(frac=1, random_state=3)
    out = al.detect(df, timezone=timezone)

    async def run() -> Any:
        watch = Watch("seasonal", (), partial(Seasonal, timezone=timezone))
        hub = pipeline(tmp_path, Options(watches=[watch]), clock=Clock(START + 5 * DAY_NS))
        await hub.start()
        keys = [Series.of("hits_total"), Series.of("load", host="a"), Series.of("load", host="b")]
        ids = pd.Categorical(df["series"], [str(one) for one in keys]).codes.astype(np.int32)
        table = al.SeriesTable.of(keys)
        await hub.commit(al.Batch(table, ids, df["time"].to_numpy().view(np.int64), df["value"].to_numpy()))
        await hub.settle()
        found = await hub.replay(np.arange(3, dtype=np.int32), START - DAY_NS, START + 5 * DAY_NS)
        names = [str(Series.from_key(hub.index.keys[id])) for id in found.batch.id.tolist()]
        await hub.stop()
        return names, found

    names, found = asyncio.run(run())
    answers = out.assign(time=df["time"], series=df["series"]).drop_duplicates(["series", "time"], keep="last")
    answers = answers.set_index(["series", "time"])
    stamps = np.asarray(found.batch.time).view("datetime64[ns]")
    mine = answers.loc[pd.MultiIndex.from_arrays([names, stamps])]
    assert len(mine) == len(answers)
    verdict = found.verdict
    for name, column in (("score", verdict.score), ("yhat", verdict.yhat), ("yhat_lower", verdict.lower),
                         ("yhat_upper", verdict.upper)):  # fmt: skip
        np.testing.assert_array_equal(mine[name].to_numpy(), column, err_msg=name)
    assert (verdict.score >= 1).sum() >= 30


def test_a_prefix_of_the_rows_has_the_prefix_of_the_answers() -> None:
    df = wave()
    whole = al.detect(df)
    for n in (1, 31, 500, len(df) - 35):
        same(al.detect(df.iloc[:n]), whole.iloc[:n])


def test_polars_says_the_same_as_pandas() -> None:
    df = two()
    said = al.detect(pl.from_pandas(df))
    assert isinstance(said, pl.DataFrame)
    same(al.detect(df), said.with_columns(pl.col(pl.Float64).fill_null(float("nan"))))
    assert said.filter(pl.col("score") >= 1).height == (al.detect(df)["score"] >= 1).sum()


def test_shuffled_rows_get_the_same_answers() -> None:
    df = two()
    mixed = df.sample(frac=1, random_state=1)
    same(al.detect(mixed).sort_index(), al.detect(df))


def test_wide_says_the_same_as_long() -> None:
    df = two()
    wide = df.pivot(index="time", columns="series", values="value")
    out = al.detect(wide)
    assert list(out.columns) == ["time", "series", "value", *ANSWERS]
    assert len(out) == 2 * len(wide)
    long = df.sort_values(["series", "time"])
    assert out["series"].tolist() == long["series"].tolist()
    assert (out["time"].dt.tz_localize(None).to_numpy() == long["time"].to_numpy()).all()
    same(out, al.detect(long))
    polars = al.detect(pl.from_pandas(wide.reset_index()))
    assert polars.columns == out.columns.tolist()
    same(out, polars.with_columns(pl.col(pl.Float64).fill_null(float("nan"))))


def test_labels_in_columns_tell_series_apart() -> None:
    df = two()
    host = df["series"].str[-3:-2]
    labelled = df.drop(columns="series").assign(host=host, site="x")
    same(al.detect(labelled), al.detect(df))
    numbered = df.drop(columns="series").assign(unit=host.map({"a": 1, "b": 2}))
    same(al.detect(numbered, series="unit", value="value"), al.detect(df))
    same(al.detect(numbered.astype({"unit": "category"}), series=["unit"]), al.detect(df))


def test_of_equal_times_the_last_row_counts_and_every_row_is_answered() -> None:
    df = wave()
    doubled = pd.concat([df.assign(value=-1e6), df])
    out = al.detect(doubled)
    same(out.iloc[len(df) :], al.detect(df))
    same(out.iloc[: len(df)].assign(alert=out["alert"].iloc[len(df) :]), al.detect(df))
    assert not out["alert"].iloc[: len(df)].any()


TIMES = {
    "seconds": lambda t: t.astype("datetime64[s]").astype(np.int64),
    "milliseconds": lambda t: t.astype("datetime64[ms]").astype(np.int64),
    "float seconds": lambda t: t.astype(np.int64) / 1e9,
    "nanoseconds": lambda t: t.astype(np.int64),
    "datetime64[s]": lambda t: t.astype("datetime64[s]"),
    "ISO text": lambda t: np.datetime_as_string(t.astype("datetime64[s]")).astype(object),
    "ISO text with an offset": lambda t: np.array(
        [f"{one}+02:00" for one in np.datetime_as_string((t + np.timedelta64(2, "h")).astype("datetime64[s]"))], object
    ),
    "numbers as text": lambda t: t.astype("datetime64[s]").astype(np.int64).astype(str).astype(object),
    "datetimes": lambda t: np.array([datetime.fromtimestamp(s, UTC) for s in t.astype("datetime64[s]").astype(int)]),
}


@pytest.mark.parametrize("how", TIMES)
def test_times_of_every_form_are_read(how: str) -> None:
    df = wave(days=2)
    given = df.assign(time=TIMES[how](df["time"].to_numpy()))
    expected = al.detect(df)
    same(al.detect(given), expected)
    if how != "datetime64[s]":
        polars = pl.DataFrame({"time": given["time"].tolist(), "value": given["value"].to_numpy()})
        same(al.detect(polars).with_columns(pl.col(pl.Float64).fill_null(float("nan"))), expected)


def test_an_index_of_times_of_any_zone_counts_as_the_time() -> None:
    df = wave(days=2)
    zoned = df.set_index(pd.DatetimeIndex(df["time"]).tz_localize("UTC").tz_convert("Asia/Kolkata"))["value"]
    same(al.detect(zoned), al.detect(df))
    same(al.detect(zoned.to_frame("other")), al.detect(df))
    levels = df.assign(host="a").set_index(["host", "time"])
    same(al.detect(levels), al.detect(df))


def test_days_may_be_dates_or_periods() -> None:
    days = pd.DataFrame({"time": pd.date_range("2000-01-01", periods=400), "value": np.arange(400) % 7.0})
    expected = al.detect(days)
    same(al.detect(days.assign(time=[date.fromordinal(730_120 + n) for n in range(400)])), expected)
    same(al.detect(days.set_index(pd.PeriodIndex(days["time"], freq="D"))[["value"]]), expected)


def test_the_hour_of_the_site_stays_usual_across_a_change_of_its_clocks() -> None:
    """A load that follows local time: after the change it is usual in its zone, and strange in UTC."""
    stamps = pd.date_range("2026-02-20", "2026-04-05", freq="15min", tz="Europe/Madrid")
    hour = stamps.hour + stamps.minute / 60
    value = np.where((hour >= 8) & (hour < 18), 100.0, 10.0) + np.random.default_rng(1).normal(0, 1, len(stamps))
    df = pd.DataFrame({"time": stamps, "value": value})
    assert stamps[0].utcoffset() != stamps[-1].utcoffset()
    after = df["time"] >= "2026-03-29"
    assert al.detect(df, timezone="Europe/Madrid")["alert"][after].sum() == 0
    assert al.detect(df)["alert"][after].sum() > 0


def test_counters_are_judged_on_their_rate_through_resets() -> None:
    df = wave(days=3)
    total = df.assign(value=(df["value"] * 300).cumsum() % 2e6)
    named = total.rename(columns={"value": "requests_total"})
    out = al.detect(named)
    same(al.detect(total.assign(series="requests"), kinds={"requests": "counter"}), out)
    at = np.flatnonzero(out["alert"])
    assert at[-1] == len(df) - 40
    rate = out["yhat"].iloc[-1]
    assert 30 < rate < 70
    assert (al.detect(named, kinds={"requests_total": "gauge"})["yhat"].dropna() > 1000).any()


def test_parts_of_histograms_are_not_judged() -> None:
    df = wave(days=1).assign(series='latency_bucket{le="0.5"}')
    assert set(al.detect(df)["why"]) == {"Part of a histogram: not judged"}


def test_rows_without_a_time_or_a_finite_value_are_answered_too() -> None:
    df = wave(days=2)
    df.loc[5, "time"] = pd.NaT
    df.loc[6, "value"] = np.inf
    out = al.detect(df)
    assert out["why"].iloc[[5, 6]].tolist() == ["No time", "Not a finite number"]
    assert out["score"].iloc[[5, 6]].isna().all()
    same(out.drop([5, 6]), al.detect(df.drop([5, 6])))


def test_a_frame_of_no_rows_is_answered_by_none() -> None:
    for empty in (wave().iloc[:0], pl.from_pandas(wave().iloc[:0])):
        assert len(al.detect(empty)) == 0


def test_a_budget_is_a_part_of_the_rows_of_a_week() -> None:
    df = wave()
    rows_a_week = 7 * 288  # one every five minutes
    usual, asked = al.detect(df), al.detect(df, budget_per_week=rows_a_week * 1e-6)
    np.testing.assert_allclose(asked["score"], usual["score"] * np.log(1e-4) / np.log(1e-6), rtol=1e-12)
    assert (asked["yhat_upper"] >= usual["yhat_upper"]).sum() > len(df) * 0.9
    with pytest.raises(AlmenaraError, match=r"budget_per_week: found 100, expected at most 20.2: of 2,016 rows a week"):
        al.detect(df, budget_per_week=100)
    with pytest.raises(AlmenaraError, match="expected one of both"):
        al.detect(df, budget_per_week=1, p_limit=1e-3)


WRONG = {
    "detect: found list, expected a pandas or polars DataFrame": lambda df: al.detect([1, 2]),
    r"found LazyFrame, .* call .collect\(\) first": lambda df: al.detect(pl.from_pandas(df).lazy()),
    r"found no column of times among value \(number\); expected an index of times": lambda df: al.detect(df[["value"]]),
    r"found no column of numbers among time \(time\)": lambda df: al.detect(df[["time"]]),
    r"time: found no column 'when', expected one of time \(time\), value \(number\)": lambda df: al.detect(
        df, time="when"
    ),
    "column 'value': found 'high', expected numbers": lambda df: al.detect(
        df.astype(object).replace({"value": {df["value"][3]: "high"}}), value="value"
    ),
    "column 'time', row 3: found 'yesterday', expected a time such as 2026": lambda df: al.detect(
        df.assign(time=["2026-01-01"] * 3 + ["yesterday"] * (len(df) - 3))
    ),
    r"found 0 to 1151, which begins at 1970-01-01T00:00:00Z; expected times as s": lambda df: al.detect(
        df.assign(time=range(len(df)))
    ),
    "kinds: found 'speed', expected the name of a series: value": lambda df: al.detect(df, kinds={"speed": "counter"}),
    "kinds: found 'rate' for 'value', expected one of gauge, counter, histogram": lambda df: al.detect(
        df, kinds={"value": "rate"}
    ),
    "found the time 5000-01-01": lambda df: al.detect(df.assign(time=np.full(len(df), "5000-01-01", "datetime64[s]"))),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_judged_says_what_was_found_and_expected(words: str) -> None:
    with pytest.raises(AlmenaraError, match=words):
        WRONG[words](wave())


def test_wrong_options_are_told_as_in_a_configuration() -> None:
    with pytest.raises(PluginError, match="no detector is called 'seasonl'; did you mean seasonal"):
        al.detect(wave(), detector="seasonl")
    with pytest.raises(ConfigError, match=r"seasonal.p_limt: unknown option; did you mean p_limit\?"):
        al.detect(wave(), options={"p_limt": 0.001})
    with pytest.raises(ConfigError, match="'Mars/Olympus' is no known time zone"):
        al.detect(wave(), timezone="Mars/Olympus")
    with pytest.raises(ConfigError, match="is given twice"):
        al.detect(wave(), timezone="UTC", options={"timezone": "UTC"})


def test_the_frame_is_left_as_it_was() -> None:
    df = two()
    before = df.copy(deep=True)
    al.detect(df)
    pd.testing.assert_frame_equal(df, before)


def test_years_before_1971_can_be_judged() -> None:
    old = wave(start=-20 * 365 * DAY_NS, every_ns=HOUR_NS, days=30)
    assert al.detect(old)["alert"].iloc[-40:].any()


def test_polars_times_of_any_unit_and_zone_and_missing_ones_are_read() -> None:
    df = wave(days=2)
    expected = al.detect(df)
    time = pl.Series(df["time"].to_numpy())
    for unit in ("ms", "us", "ns"):
        zoned = time.dt.cast_time_unit(unit).dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Kolkata")
        said = al.detect(pl.DataFrame({"time": zoned, "value": df["value"].to_numpy()}))
        same(said.with_columns(pl.col(pl.Float64).fill_null(float("nan"))), expected)
    gaps = pl.DataFrame({"time": [None, *time], "value": [1.0, *df["value"]]})
    said = al.detect(gaps)
    assert said["why"][0] == "No time"
    same(said[1:].with_columns(pl.col(pl.Float64).fill_null(float("nan"))), expected)
    days = pd.DataFrame({"time": pd.date_range("2000-01-01", periods=400), "value": np.arange(400) % 7.0})
    dated = pl.from_pandas(days).with_columns(pl.col("time").cast(pl.Date))
    same(al.detect(dated).with_columns(pl.col(pl.Float64).fill_null(float("nan"))), al.detect(days))
