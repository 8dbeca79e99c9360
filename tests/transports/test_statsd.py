"""StatsD: what lines add up to, the tags, checks and events of DogStatsD, and what is dropped under which name."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from tests.transports.links import at_work, shoot

from almenara.codecs.prometheus import Prometheus
from almenara.codecs.syslog import Syslog
from almenara.plugin.contracts import Context
from almenara.transports import _statsd
from almenara.transports._statsd import Aggregate, Bad, event_message
from almenara.transports.statsd import Statsd

S = 1_000_000_000


def aggregate(max_names: int = 100, forget_after: int = 1000) -> Aggregate:
    return Aggregate(Counter(), max_names, forget_after, (50.0, 90.0))


def flushed(state: Aggregate, at_s: int = 20) -> dict[str, float]:
    """The newest value of each series, at the time of the flush."""
    decoded = Prometheus().decode(b"".join(state.flush(at_s * S, (at_s - 10) * S)), Context())
    assert not decoded.rejected
    b = decoded.batch
    return {str(b.series[i]): v for i, t, v in zip(b.id, b.time, b.value, strict=True) if t == at_s * S}


def after(*lines: str) -> dict[str, float]:
    state = aggregate()
    state.take("\n".join(lines).encode())
    assert not state._dropped
    return flushed(state)


def test_counters_add_up_and_go_on_from_flush_to_flush() -> None:
    state = aggregate()
    state.take(b"api.calls:1|c\napi.calls:2|c|@0.1\n")
    assert flushed(state, 20) == {"api_calls_total": 21.0}
    assert flushed(state, 30) == {"api_calls_total": 21.0}
    state.take(b"api.calls:-1|c")
    assert flushed(state, 40) == {"api_calls_total": 20.0}


def test_a_new_counter_stands_at_zero_when_its_first_interval_began() -> None:
    state = aggregate()
    state.take(b"c:5|c")
    decoded = Prometheus().decode(b"".join(state.flush(20 * S, 10 * S)), Context())
    assert list(zip(decoded.batch.time, decoded.batch.value, strict=True)) == [(10 * S, 0.0), (20 * S, 5.0)]
    assert [m.kind for m in decoded.metadata.values()] == ["counter"]


def test_gauges_are_set_or_changed_and_told_only_when_something_came() -> None:
    state = aggregate()
    state.take(b"g:5|g\ng:+3|g\ng:-1|g")
    assert flushed(state) == {"g": 7.0}
    assert flushed(state, 30) == {}


def test_timers_give_count_sum_and_what_they_were() -> None:
    found = after(*(f"lat:{n}|ms" for n in range(1, 11)))
    assert found == {
        "lat_count": 10, "lat_sum": 55, "lat_min": 1, "lat_max": 10, "lat_mean": 5.5, "lat_p50": 5, "lat_p90": 9,
    }  # fmt: skip


def test_sampled_timers_weigh_more_and_several_values_stand_in_one_line() -> None:
    found = after("lat:10:20|h|@0.5")
    assert (found["lat_count"], found["lat_sum"], found["lat_mean"]) == (4, 60, 15)


def test_sets_count_different_members() -> None:
    assert after("u:a|s", "u:b|s", "u:a|s") == {"u_unique": 2.0}


def test_tags_are_labels_in_any_order() -> None:
    assert after('c:1|c|#env:pr"od,b', 'c:1|c|@1|#b,env:pr"od') == {'c_total{b="true",env="pr\\"od"}': 2.0}


def test_service_checks_are_states() -> None:
    assert after("_sc|db.up|2|d:1700000000|h:web1|#env:x|m:it is gone") == {'db_up_status{env="x",host="web1"}': 2.0}


def test_events_become_syslog_messages() -> None:
    message = event_message('_e{5,9}:ti"le|te\\nxt]é|d:1700000000|h:web 1|t:error|s:app|#env:x')
    (event,) = Syslog().decode(b"%d %b" % (len(message), message), Context()).events
    assert (event.time, event.text) == (1_700_000_000 * S, "te\nxt]é")
    assert dict(event.labels) == {
        "facility": "user", "severity": "err", "host": "web_1", "app": "dogstatsd", "title": 'ti"le',
        "source_type": "app", "env": "x",
    }  # fmt: skip
    with pytest.raises(Bad):
        event_message("_e{5,80}:title|text")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "bad_line"),
        ("a:1", "bad_line"),
        (":1|c", "bad_line"),
        ("a:1|x", "bad_line"),
        ("a:x|c", "bad_value"),
        ("a:nan|g", "bad_value"),
        ("a:1|c|@0", "bad_line"),
        ("a:1|c|@x", "bad_line"),
        ("_sc|x|9", "bad_line"),
        ("_e{1,1}:", "bad_line"),
        ("a" * 5000 + ":1|c", "key_too_long"),
    ],
)
def test_a_bad_line_is_counted_and_the_rest_goes_on(line: str, reason: str) -> None:
    state = aggregate()
    state.take(f"ok:1|c\n{line}\nok:1|c".encode())
    assert state._dropped == {reason: 1}
    assert flushed(state)["ok_total"] == 2


def test_names_are_bounded_and_forgotten_when_silent() -> None:
    state = aggregate(max_names=3, forget_after=1)
    for n in range(5):
        state.take(b"n%d:1|c" % n)
    assert state._dropped == {"too_many_names": 2}
    for _ in range(2):
        flushed(state)
    state.take(b"n4:1|c")
    assert flushed(state) == {"n4_total": 1.0}


def test_samples_and_members_are_bounded_between_two_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_statsd, "MOST_KEPT", 3)
    state = aggregate()
    state.take(b"lat:1:2:3:4|ms\nu:a|s\nlat2:1|ms")
    assert state._dropped == {"too_many_members": 1}
    found = flushed(state)
    assert (found["lat_count"], found["lat_max"], found["lat_p90"]) == (4, 4, 3)
    assert "lat2_p90" not in found
    state.take(b"u:a|s\nu:b|s\nu:a|s")
    assert flushed(state, 30)["u_unique"] == 2


def test_sums_stay_numbers() -> None:
    state = aggregate()
    state.take(b"c:1|c\nc:1e308|c|@0.000001\nc:1|c\ng:1e308|g\ng:+1e308|g\nt:1e308|ms\nt:1e308|ms")
    assert state._dropped == {"bad_value": 3}
    found = flushed(state)
    assert (found["c_total"], found["g"], found["t_sum"], found["t_count"]) == (2, 1e308, 1e308, 1)


def test_what_is_remembered_between_two_flushes_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    state = aggregate()
    state.take(b"_sc|a|0|#t:" + b"x" * 5000)
    assert state._dropped == {"key_too_long": 1}
    for n in range(10):
        state.take(b"n:1|c|unknown:%d%s" % (n, b"x" * 5000))
    assert (flushed(state)["n_total"], len(state._by_line)) == (10, 0)
    monkeypatch.setattr(_statsd, "MOST_KEPT", 20)
    state = aggregate()
    for n in range(3):
        state.take(b"u:%d%s|s" % (n, b"x" * 1000))
    assert state._dropped == {"too_many_members": 1}
    assert flushed(state)["u_unique"] == 2
    monkeypatch.setattr(_statsd, "_MOST_EVENT_BYTES", 1000)
    for _ in range(10):
        state.take(b"_e{1,300}:t|" + b"x" * 300)
    assert state._dropped["too_many_events"] == 7
    assert len(state.take_events()) < 1500
    state.take(b"_e{1,1}:t|x")
    assert len(state.events) == 1


def test_a_large_flush_comes_in_blocks_that_each_say_their_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_statsd, "_BLOCK_BYTES", 100)
    state = aggregate()
    for n in range(10):
        state.take(b"n%d:%d|c" % (n, n))
    blocks = list(state.flush(20 * S, 10 * S))
    assert len(blocks) > 1
    for block in blocks:
        decoded = Prometheus().decode(block, Context())
        assert {about.kind for about in decoded.metadata.values()} == {"counter"}


def test_a_flush_that_fails_is_told_by_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        link = Statsd(listen="127.0.0.1:0", flush_s=0.1)
        monkeypatch.setattr(link._state, "flush", lambda now, began: 1 / 0)
        async with asyncio.timeout(60):
            with pytest.raises(ZeroDivisionError):
                await anext(link.receive())

    asyncio.run(run())


def test_any_bytes_are_survived() -> None:
    chance, state = random.Random(5), aggregate()
    for _ in range(3000):
        state.take(bytes(chance.choices(b'abc:|@#,cgmsh_e{1}0.9-+\n\xff\\"', k=chance.randint(0, 40))))
    Prometheus().decode(b"".join(state.flush(20 * S, 10 * S)) or b"x 1", Context())


def test_datagrams_come_out_as_rows_every_flush() -> None:
    async def run() -> None:
        async with at_work(Statsd(listen="127.0.0.1:0", flush_s=0.2)) as work:
            await shoot(work.link.port, b"a.b:1|c\n_e{1,1}:t|x", b"a.b:2|c")
            await work.until(lambda: b"a_b_total 3.0" in work.payload)
            assert {one.codec for one in work.packets} == {"prometheus", "syslog"}

    asyncio.run(run())
