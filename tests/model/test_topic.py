"""Rules of topics."""

import pytest

from almenara.model.errors import ConfigError
from almenara.model.series import Series
from almenara.model.topic import check_topic, is_own, slug, status_topic


@pytest.mark.parametrize("topic", ["a", "sensors/mumbai", "/lead//empty/", "spBv1.0/x", "$x", "ünï/코", "a" * 1024])
def test_ordinary_topics_may_be_published(topic: str) -> None:
    check_topic(topic)


@pytest.mark.parametrize("topic", ["", "a b", "a\tb", "a\r\nb", "a\x00", "a/+/b", "#", "a" * 1025, "é" * 513])
def test_topics_that_brokers_refuse_are_refused_first(topic: str) -> None:
    with pytest.raises(ConfigError, match="topic"):
        check_topic(topic)


def test_own_topics_are_no_input() -> None:
    own = ["almenara/alarm/r/s", "almenara/hub/a/status", "almenara/agent/b/status", "almenara/anomaly/x"]
    assert [is_own(t) for t in own] == [True] * 4
    assert not any(is_own(t) for t in ["almenara/agent/b/metrics", "sensors/x", "almenara2/alarm/x", "almenara"])


def test_slugs_are_one_plain_level_and_differ_where_series_differ() -> None:
    one = Series.of("temperature", city="New Delhi", path="a/b#+")
    two = Series.of("temperature", city="New_Delhi", path="a/b#+")
    slugs = [slug(str(s), s.key) for s in (one, two)]
    assert slugs[0] != slugs[1]
    for text in slugs:
        check_topic(text)
        assert "/" not in text
    assert len(slug("x" * 5000, b"key")) <= 57


def test_a_plain_name_is_its_own_slug() -> None:
    assert slug("cpu_usage-1") == "cpu_usage-1"
    assert slug("cpu usage") != slug("cpu/usage")
    assert slug("") == ""
    assert status_topic("hub", "plant 7").startswith("almenara/hub/plant-7-")
