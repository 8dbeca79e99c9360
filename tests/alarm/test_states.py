"""Every cell of the state table, and the kernel against its twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.alarm.pace import LEAST_NS, Pace
from almenara.alarm.rules import Rule
from almenara.alarm.states import TOLD, Changes, Machine
from almenara.model.time import NS
from naive import AlarmTable

HOLD, KEEP = 60, 120
MASK = np.ones(3, np.bool_)


def machine(hold: float = HOLD, keep: float = 0) -> Machine:
    return Machine(Rule("hot", "cpu > 90", hold, keep))


def say(
    machine: Machine, *said: tuple[float, bool], id: int = 0, mask: np.ndarray = MASK
) -> list[tuple[str, int, int]]:
    """(state, since, time) in seconds that rows (second, true) of one series make."""
    time = np.array([round(second * NS) for second, _ in said], np.int64)
    true = np.array([holds for _, holds in said], np.bool_)
    n = len(said)
    found = machine.step(np.full(n, id, np.int32), time, true.astype(float), np.ones(n, np.bool_), true, mask)
    return told(found, time[found.row])


def told(changes: Changes, time: np.ndarray) -> list[tuple[str, int, int]]:
    triples = zip(changes.told.tolist(), changes.since.tolist(), time.tolist(), strict=True)
    return [(TOLD[code].value, since // NS, at // NS) for code, since, at in triples]


def tick(machine: Machine, second: float, last: float, gap_s: float = 0, heard_from: float = 0) -> list[str]:
    return [state for state, _ in ticked(machine, second, last, gap_s, heard_from)]


def ticked(
    machine: Machine, second: float, last: float, gap_s: float = 0, heard_from: float = 0
) -> list[tuple[str, int]]:
    pace = Pace()
    pace.reserve(3)
    pace.last[:], pace.gap[:] = round(last * NS), gap_s * NS
    found = machine.tick(round(second * NS), pace, round(heard_from * NS), np.ones(3, np.bool_))
    return [(state, since) for state, since, _ in told(found, found.row)]


def silenced(machine: Machine) -> Machine:
    """The same after ten minutes without a row; the last one was at second 100."""
    assert tick(machine, 700, 100) == ["no-data"]
    return machine


def pending(**options: float) -> Machine:
    one = machine(**options)
    assert say(one, (100, True)) == [("pending", 100, 100)]
    return one


def firing(keep: float = 0) -> Machine:
    one = machine(0, keep)
    assert say(one, (100, True)) == [("firing", 100, 100)]
    return one


def test_inactive_and_false_is_nothing() -> None:
    assert say(machine(), (100, False), (110, False)) == []


def test_inactive_and_true_is_pending_since_then() -> None:
    assert say(machine(), (100, False), (110, True)) == [("pending", 110, 110)]


def test_without_a_hold_it_fires_at_once() -> None:
    assert say(machine(hold=0), (100, True)) == [("firing", 100, 100)]


def test_pending_fires_at_the_first_true_row_at_or_after_the_hold() -> None:
    assert say(pending(), (159, True)) == []
    assert say(pending(), (130, True), (160, True)) == [("firing", 100, 160)]
    assert say(pending(), (400, True)) == [("firing", 100, 400)]


def test_pending_and_false_is_inactive_again_and_the_hold_begins_anew() -> None:
    assert say(pending(), (130, False), (140, True), (199, True), (200, True)) == [
        ("inactive", 100, 130), ("pending", 140, 140), ("firing", 140, 200),
    ]  # fmt: skip


def test_firing_and_true_is_nothing_new() -> None:
    assert say(firing(), (110, True), (120, True)) == []


def test_firing_and_false_is_resolved() -> None:
    assert say(firing(), (110, True), (120, False)) == [("resolved", 100, 120)]


def test_resolved_is_inactive_in_silence() -> None:
    assert say(firing(), (110, False), (120, False), (130, True)) == [("resolved", 100, 110), ("firing", 130, 130)]


def test_firing_goes_on_while_keep_firing_for_lasts() -> None:
    assert say(firing(KEEP), (110, True), (229, False)) == []
    assert say(firing(KEEP), (110, True), (120, False), (230, False)) == [("resolved", 100, 230)]


def test_flapping_inside_keep_firing_for_is_one_alarm() -> None:
    one = firing(KEEP)
    assert say(one, (150, False), (200, True), (300, False), (319, True), (400, False)) == []
    assert say(one, (439, False)) == [("resolved", 100, 439)]


def test_silence_makes_pending_and_firing_no_data() -> None:
    for one in (pending(hold=3600), firing()):
        assert tick(one, 400, 100) == []
        assert tick(one, 401, 100) == ["no-data"]
        assert tick(one, 500, 100) == []


def test_silence_counts_in_the_gaps_of_the_series() -> None:
    one = firing()
    assert tick(one, 100 + 3 * 3600, 100, gap_s=3600) == []
    assert tick(one, 101 + 3 * 3600, 100, gap_s=3600) == ["no-data"]


def test_silence_of_inactive_series_is_nothing() -> None:
    one = machine()
    say(one, (100, False))
    assert tick(one, 10_000, 100) == []


def test_silence_from_before_the_hub_listened_does_not_count() -> None:
    assert tick(firing(), 700, 100, heard_from=500) == []


def test_no_data_after_firing_fires_on_with_a_true_row() -> None:
    one = silenced(firing())
    assert say(one, (800, True)) == [("firing", 800, 800)]
    assert say(one, (810, False)) == [("resolved", 800, 810)]


def test_no_data_after_firing_is_resolved_by_a_false_row() -> None:
    assert say(silenced(firing()), (800, False)) == [("resolved", 100, 800)]


def test_no_data_after_firing_fires_on_while_keep_firing_for_lasts() -> None:
    one = silenced(firing(keep=3600))
    assert say(one, (800, False)) == [("firing", 800, 800)]
    assert say(one, (3700, False)) == [("resolved", 800, 3700)]


def test_no_data_after_pending_begins_its_hold_anew_with_a_true_row() -> None:
    one = silenced(pending(hold=3600))
    assert say(one, (800, True), (4400, True)) == [("pending", 800, 800), ("firing", 800, 4400)]


def test_no_data_after_pending_is_inactive_by_a_false_row() -> None:
    assert say(silenced(pending(hold=3600)), (800, False)) == [("inactive", 100, 800)]


def test_the_clock_fires_what_was_true_last_once_the_next_row_is_overdue() -> None:
    one = pending()
    assert tick(one, 189, 130, gap_s=30) == []
    assert tick(one, 190, 130, gap_s=30) == ["firing"]
    assert say(one, (200, True)) == []


def test_the_clock_does_not_fire_what_fell_silent() -> None:
    assert tick(pending(), 500, 100) == ["no-data"]


def test_the_clock_resolves_what_was_false_last_when_keep_firing_for_is_over() -> None:
    one = firing(KEEP)
    say(one, (150, False))
    assert tick(one, 219, 150) == []
    assert tick(one, 220, 150) == ["resolved"]


def test_rows_of_series_that_the_rule_is_not_about_are_left_out() -> None:
    one = machine(0)
    mask = np.array([False, True, True])
    assert say(one, (100, True), id=0, mask=mask) == []
    assert say(one, (100, True), id=1, mask=mask) == [("firing", 100, 100)]


def test_what_a_former_run_decided_changes_no_state_and_brings_the_rest_up_to_date() -> None:
    one, columns = firing(KEEP), (np.zeros(2, np.int32), np.array([150, 180]) * NS, np.array([2.0, 1.0]))
    says = np.ones(2, np.bool_)
    assert len(one.step(*columns, says, says, MASK, replayed=True)) == 0
    assert (one.last_true[0], one.worst[0]) == (180 * NS, 2.0)
    assert say(one, (299, False), (300, False)) == [("resolved", 100, 300)]


def test_undo_takes_back_everything() -> None:
    one = firing(KEEP)
    say(one, (100, True), id=1)
    before = [column.tolist() for column in one.columns]
    kept = one.keep(np.array([0, 1, 2]))
    say(one, (400, False))
    say(one, (500, True), (510, False), id=2)
    one.undo(kept)
    open = one.open()
    assert open.tolist() == [0, 1]
    assert [column[open].tolist() for column in one.columns] == [[c[i] for i in open] for c in before]


def test_columns_of_different_length_are_refused() -> None:
    one, n = machine(), np.zeros(2, np.int32)
    with pytest.raises(ValueError, match="differ in length"):
        one.step(n, np.zeros(3, np.int64), np.zeros(2), np.ones(2, bool), np.ones(2, bool), MASK)
    with pytest.raises(ValueError, match="below 3"):
        one.step(n + 3, np.zeros(2, np.int64), np.zeros(2), np.ones(2, bool), np.ones(2, bool), MASK)


_rows = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 90), st.booleans(), st.booleans()), max_size=80)


@settings(max_examples=150, deadline=None)
@given(_rows, st.sampled_from([0, 60, 200]), st.sampled_from([0, 100]), st.lists(st.integers(1, 30), min_size=1))
def test_the_kernel_equals_its_twin_however_rows_are_cut(
    given: list[tuple[int, int, bool, bool]], hold: int, keep: int, cuts: list[int]
) -> None:
    twins = [AlarmTable(hold * NS, keep * NS) for _ in range(3)]
    one, clock, at, turn = machine(hold, keep), [100 * NS] * 3, 0, 0
    rows = []
    for id, gap, true, states in given:
        clock[id] += gap * NS
        rows.append((id, clock[id], true, states))
        if states:
            twins[id].row(clock[id], true)
    heard: list[list[tuple[str, int, int]]] = [[], [], []]
    while at < len(rows):
        part = sorted(rows[at : at + cuts[turn % len(cuts)]], key=lambda row: row[:2])
        at, turn = at + cuts[turn % len(cuts)], turn + 1
        id, time, true, states = (np.array(column) for column in zip(*part, strict=True))
        found = one.step(id.astype(np.int32), time, true.astype(float), states, true, MASK)
        for k, row in enumerate(found.row.tolist()):
            heard[int(id[row])].append((TOLD[found.told[k]].value, int(found.since[k]), int(time[row])))
    assert heard == [twin.told for twin in twins]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([20, 290, 400]), st.booleans(), st.booleans()), max_size=40),
    st.sampled_from([0, 60, 330]),
    st.sampled_from([0, 100, 500]),
)
def test_rows_and_ticks_equal_their_twin(given: list[tuple[int, bool, bool]], hold: int, keep: int) -> None:
    twin, one, last, said = AlarmTable(hold * NS, keep * NS), machine(hold, keep), 1000, False
    heard = []
    for gap, true, ticks in given:
        at = last + gap
        if ticks:
            heard += [(state, since, at - 1) for state, since in ticked(one, at - 1, last)]
            twin.tick((at - 1) * NS, last * NS, said, LEAST_NS)
        heard += say(one, (at, true))
        twin.row(at * NS, true)
        last, said = at, true
    assert heard == [(state, since // NS, time // NS) for state, since, time in twin.told]


def test_the_usual_gap_is_learned_and_one_outage_is_not_taken_for_it() -> None:
    pace, value = Pace(), np.zeros(1)
    for second in (*range(60, 1260, 60), 90_000):
        assert pace.step(np.zeros(1, np.int32), np.array([second * NS]), value, 0).all()
    assert pace.gap[0] < 90 * NS
    assert pace.limit(np.array([0]))[0] == LEAST_NS


def test_late_rows_history_and_missing_values_do_not_count() -> None:
    pace, id = Pace(), np.zeros(5, np.int32)
    time, value = np.array([1, 20, 20, 30, 40]) * NS, np.array([1.0, 1, 1, np.nan, 1])
    assert pace.step(id, time, value, 10 * NS).tolist() == [False, True, False, False, True]
