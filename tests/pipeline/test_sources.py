"""Sources: one line for each sender, with what was kept, what was not, and what to do."""

from __future__ import annotations

import threading

from almenara.model.batch import Rejected
from almenara.pipeline.sources import MAX_SOURCES, OTHERS, Sources


def test_payloads_of_one_sender_add_up_in_one_line() -> None:
    sources = Sources()
    sources.count("mqtt:hall", 10, 1, 5, [])
    sources.count("mqtt:hall", 30, 2, 7, [])
    (line,) = sources.snapshot()
    assert (line.name, line.transport) == ("mqtt:hall", "mqtt")
    assert (line.first_ns, line.last_ns, line.payloads, line.rows) == (10, 30, 3, 12)


def test_rows_without_a_promise_are_counted_apart() -> None:
    sources = Sources()
    sources.count("mqtt:a", 1, 1, 5, [], best_effort=True)
    sources.count("mqtt:a", 1, 1, 2, [])
    (line,) = sources.snapshot()
    assert (line.rows, line.best_effort_rows) == (7, 5)


def test_what_was_rejected_is_counted_by_reason_and_the_last_one_is_told() -> None:
    sources = Sources()
    sources.count("udp:b", 1, 1, 0, [Rejected("line 1", "future", 3), Rejected("line 9", "syntax", 1, "no value")])
    sources.count("udp:b", 2, 1, 0, [Rejected("line 2", "future", 2)])
    (line,) = sources.snapshot()
    assert line.rejected == {"future": 5, "syntax": 1}
    assert line.last_rejected == "line 2: future"


def test_the_last_rejection_is_told_in_a_line_of_limited_length() -> None:
    sources = Sources()
    sources.count("udp:b", 1, 1, 0, [Rejected("line 1", "syntax", 1, "x" * 10_000)])
    assert len(sources.snapshot()[0].last_rejected) == 200


def test_a_sender_with_a_problem_comes_first_then_the_latest() -> None:
    sources = Sources()
    sources.report("mqtt:old client", 1, "it asks for MQTT 5", "choose 3.1.1")
    sources.count("mqtt:a", 5, 1, 1, [])
    sources.count("mqtt:b", 9, 1, 1, [])
    found = sources.snapshot()
    assert [line.name for line in found] == ["mqtt:old client", "mqtt:b", "mqtt:a"]
    assert (found[0].first_ns, found[0].problem, found[0].remedy) == (1, "it asks for MQTT 5", "choose 3.1.1")


def test_a_problem_stays_while_rows_arrive() -> None:
    sources = Sources()
    sources.report("mqtt:a", 1, "a topic with a space", "rename it")
    sources.count("mqtt:a", 2, 1, 3, [])
    (line,) = sources.snapshot()
    assert (line.problem, line.rows, line.last_ns) == ("a topic with a space", 3, 2)


def test_senders_beyond_the_limit_share_a_line_and_known_ones_keep_theirs() -> None:
    sources = Sources()
    for n in range(MAX_SOURCES + 50):
        sources.count(f"udp:{n}", 1, 1, 2, [])
    sources.count("udp:0", 2, 1, 2, [])
    lines = {line.name: line for line in sources.snapshot()}
    assert len(lines) == MAX_SOURCES + 1
    assert lines[OTHERS].rows == 100
    assert lines["udp:0"].rows == 4


def test_what_was_read_does_not_change_afterwards() -> None:
    sources = Sources()
    sources.count("a:b", 1, 1, 1, [Rejected("line 1", "future", 1)])
    (before,) = sources.snapshot()
    sources.count("a:b", 2, 1, 1, [Rejected("line 1", "future", 1)])
    assert (before.rows, before.rejected) == (1, {"future": 1})


def test_threads_lose_no_count() -> None:
    sources = Sources()

    def send() -> None:
        for _ in range(500):
            sources.count("a:b", 1, 1, 2, [Rejected("line 1", "future", 1)])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (line,) = sources.snapshot()
    assert (line.payloads, line.rows, line.rejected["future"]) == (4000, 8000, 4000)
