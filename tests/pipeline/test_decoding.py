"""Decoding: topic filters as MQTT has them, and a codec that fails harms one payload only."""

from __future__ import annotations

import numpy as np
import pytest

from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import SeriesTable
from almenara.pipeline.decoding import Decoders, Decoding, topic_matches
from almenara.pipeline.together import decode_together
from almenara.plugin.contracts import Context, Packet


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a/b", "a/b", True), ("a/b", "a/b/c", False), ("a/+", "a/b", True), ("a/+", "a", False), ("a/+", "a/", True),
        ("+", "a", True), ("+", "/a", False), ("/+", "/a", True), ("+/+", "/a", True), ("#", "a/b/c", True),
        ("a/#", "a", True), ("a/#", "a/b/c", True), ("a/#", "ab", False), ("a/+/c", "a/b/c", True),
        ("#", "$SYS/x", False), ("+/x", "$SYS/x", False), ("$SYS/#", "$SYS/x", True), ("$SYS/+", "$SYS/x", True),
        ("a/+", "a/$b", True),
    ],
)  # fmt: skip
def test_topic_filters_hold_what_mqtt_says(pattern: str, topic: str, expected: bool) -> None:
    assert topic_matches(pattern, topic) is expected


class Words:
    """One row a word; it chokes on some."""

    def __init__(self) -> None:
        self.table = SeriesTable()

    def decode(self, payload: bytes, context: Context) -> Decoded:
        if payload == b"choke":
            raise IndexError("a mistake")
        ids = [self.table.intern(word) for word in payload.split()] + ([99] if payload == b"wild" else [])
        n = len(ids)
        return Decoded(Batch(self.table, np.array(ids, np.int32), np.arange(n), np.ones(n)))


def packet(payload: bytes) -> Packet:
    return Packet("t", payload, 1)


@pytest.mark.parametrize("payload", [b"choke", b"wild"])
def test_a_codec_that_fails_harms_one_payload_only(payload: bytes) -> None:
    decoders = Decoders({"words": Decoding(Words, "#")})
    many = decode_together(decoders, [packet(b"a b"), packet(payload), packet(b"b c")])
    assert [type(note) for note in many.notes.values()] == [DecodeError]
    assert list(many.notes) == [1]
    assert [many.batch.series.keys[i] for i in many.batch.id] == [b"a", b"b", b"b", b"c"]
    assert many.owner.tolist() == [0, 0, 2, 2]


def test_a_codec_that_has_seen_too_many_series_is_let_go_of() -> None:
    decoders = Decoders({"words": Decoding(Words)}, max_series=10)
    sizes = []
    for n in range(50):
        table = decoders.decode("words", packet(b"word%d" % n)).batch.series
        sizes.append(len(table))
    assert max(sizes) == 11


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(DecodeError, match="'xml' is no format known here; there are words"):
        Decoders({"words": Decoding(Words)}).decode("xml", packet(b""))


def test_other_codecs_are_used_from_the_next_payload_on() -> None:
    decoders = Decoders({"words": Decoding(Words, "#")})
    decoders.decode("words", packet(b"a"))
    decoders.replace({"others": Decoding(Words, "t")})
    assert (decoders.names(), decoders.for_topic("t"), decoders.for_topic("u")) == (["others"], "others", "json")


def test_a_codec_is_warm_once_it_has_read_a_payload() -> None:
    decoders = Decoders({"words": Decoding(Words)})
    with pytest.raises(DecodeError):
        decoders.decode("words", Packet("t", b"choke", 0))
    assert not decoders.is_warm("words")
    decoders.decode("words", Packet("t", b"a b", 0))
    assert decoders.is_warm("words")
    assert not decoders.is_warm("other")
