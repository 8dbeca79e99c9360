"""Rules of what the hub says on MQTT."""

import json

import pytest

from almenara.bus.messages import alarm_message, anomaly_message, judged_message
from almenara.model.alarm import Evidence, Severity, State, Transition
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.model.topic import check_topic, is_own

SERIES = Series.of("temperature", city="New Delhi", topic="sensors/#/x")
EVIDENCE = Evidence(value=31.5, score=1.6, yhat=20.0, lower=18.0, upper=22.0, detector="seasonal", why="It is warm.")


def transition(state: State) -> Transition:
    return Transition("too hot", SERIES, 10 * NS, state, 20 * NS, Severity.MAJOR, EVIDENCE, {"team": "plant"})


@pytest.mark.parametrize("state", [State.PENDING, State.FIRING, State.NO_DATA])
def test_an_open_alarm_is_retained_json(state: State) -> None:
    message = alarm_message(transition(state))
    body = json.loads(message.payload)
    assert message.retain
    assert (body["state"], body["severity"], body["value"], body["since"]) == (
        state.value, "major", 31.5, "1970-01-01T00:00:10Z",
    )  # fmt: skip
    assert body["labels"] == {"city": "New Delhi", "topic": "sensors/#/x", "team": "plant"}


def test_a_resolved_alarm_clears_the_same_topic() -> None:
    opened, closed = alarm_message(transition(State.FIRING)), alarm_message(transition(State.RESOLVED))
    assert closed == (opened.topic, b"", True)


def test_topics_are_publishable_our_own_and_different_for_each_series() -> None:
    other = Series.of("temperature", city="New-Delhi", topic="sensors/#/x")
    for make in (anomaly_message, judged_message):
        topics = {make(series, 1, EVIDENCE).topic for series in (SERIES, other)}
        assert len(topics) == 2
        for topic in (*topics, alarm_message(transition(State.FIRING)).topic):
            check_topic(topic)
            assert is_own(topic)


def test_nan_is_null() -> None:
    body = json.loads(judged_message(SERIES, 1, Evidence(value=1.0)).payload)
    assert body["value"] == 1.0
    assert body["score"] is body["yhat"] is body["lower"] is body["upper"] is None


def test_an_anomaly_says_whether_it_begins_or_ends() -> None:
    over = json.loads(anomaly_message(SERIES, 1, EVIDENCE).payload)
    under = json.loads(anomaly_message(SERIES, 1, Evidence(value=20.0, score=0.1)).payload)
    assert (over["anomaly"], over["severity"]) == (True, "major")
    assert under["anomaly"] is False
    assert "severity" not in under
