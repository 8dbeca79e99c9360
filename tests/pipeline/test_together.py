"""Many packets at once: rows in the order of packets, whatever codecs read them, and one bad payload harms no other."""

from __future__ import annotations

import numpy as np
import pytest

from almenara.codecs.influx import Influx
from almenara.codecs.json import Json
from almenara.model.batch import Batch, Decoded, DecodedMany, Rejected
from almenara.model.errors import DecodeError
from almenara.pipeline import together
from almenara.pipeline.admission import Turned
from almenara.pipeline.decoding import Decoders, Decoding
from almenara.pipeline.together import decode_together, outcomes_of
from almenara.plugin.contracts import Packet

NOW = 1_700_000_000_000_000_000


def rows(many: DecodedMany) -> list[tuple[int, bytes, float]]:
    b = many.batch
    found = zip(np.asarray(many.owner).tolist(), b.id, b.value, strict=True)
    return [(owner, bytes(b.series.keys[i]), float(v)) for owner, i, v in found]


def decoders() -> Decoders:
    return Decoders({"json": Decoding(lambda: Json(topic_label="")), "influx": Decoding(Influx, "influx/#")})


def packet(topic: str, payload: bytes, codec: str = "") -> Packet:
    return Packet(topic, payload, NOW, codec=codec)


def test_packets_of_several_codecs_stay_in_order() -> None:
    known = decoders()
    packets = [
        packet("a", b'{"x":1}'), packet("influx/a", b"x value=2\ny value=3"), packet("a", b'{"x":4}'), packet("a", b""),
        packet("z", b"x value=5", "influx"), packet("a", b'{"y":6}'),
    ]  # fmt: skip
    for _ in range(3):
        many = decode_together(known, packets)
        assert rows(many) == [
            (0, b"x", 1.0), (1, b"x", 2.0), (1, b"y", 3.0), (2, b"x", 4.0), (4, b"x", 5.0), (5, b"y", 6.0),
        ]  # fmt: skip
        assert not many.notes
    assert decode_together(known, packets).batch.series is many.batch.series


def test_what_cannot_be_read_is_noted_at_its_packet() -> None:
    packets = [
        packet("a", b"{"),
        packet("influx/a", b"bad"),
        packet("a", b'{"x":1,"y":null}'),
        packet("a", b"1", "xml"),
    ]
    many = decode_together(decoders(), packets)
    assert rows(many) == [(2, b"x", 1.0)]
    assert [type(many.notes[at]) for at in sorted(many.notes)] == [DecodeError, DecodeError, Decoded, DecodeError]
    assert [r.reason for r in many.notes[2].rejected] == ["null"]  # type: ignore[union-attr]


def test_nothing_is_nothing() -> None:
    assert rows(decode_together(decoders(), [])) == []
    assert rows(decode_together(decoders(), [packet("a", b"")])) == []


class Fails(Json):
    """Reads many at once in a way that breaks the contract."""

    wrong = "raise"

    def decode_many(self, packets: object) -> DecodedMany:
        if self.wrong == "raise":
            raise IndexError("a mistake")
        return DecodedMany(Batch.of([(b"a", NOW, 1.0)]), np.array([] if self.wrong == "short" else [99], np.int64))


@pytest.mark.parametrize("wrong", ["raise", "short", "far"])
def test_a_codec_that_fails_at_many_reads_one_by_one(wrong: str) -> None:
    made = type("Made", (Fails,), {"wrong": wrong})
    many = decode_together(Decoders({"json": Decoding(made)}), [packet("a", b'{"x":1}'), packet("a", b'{"x":2}')])
    assert [value for _, _, value in rows(many)] == [1.0, 2.0]


def test_the_table_over_several_codecs_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MAX_SHARED", 10)
    known = decoders()
    for n in range(40):
        found = decode_together(known, [packet("a", b'{"x%d":1}' % n), packet("influx/a", b"y%d value=2" % n)])
        assert [key for _, key, _ in rows(found)] == [b"x%d" % n, b"y%d" % n]
        assert len(found.batch.series) <= 12


def test_each_packet_is_told_what_became_of_it() -> None:
    packets = [
        packet("a", b'{"x":1}'),
        packet("a", b"{"),
        packet("a", b'{"x":2,"y":3,"z":null}'),
        packet("a", b'{"x":4}'),
    ]
    many = decode_together(decoders(), packets)
    counts = np.bincount(many.owner, minlength=4)
    turned = [
        Turned(Rejected("admission", "future", 2, "x"), np.array([0, 1])),
        Turned(Rejected("admission", "no_clock"), np.array([2])),
    ]
    outcomes, remarkable = outcomes_of(many, counts, turned)
    assert [one.rows for one in outcomes] == [0, 0, 0, 1]
    assert isinstance(outcomes[1].error, DecodeError)
    assert [(r.reason, r.rows) for r in outcomes[0].rejected] == [("future", 1)]
    assert [(r.reason, r.rows) for r in outcomes[2].rejected] == [("null", 1), ("future", 1), ("no_clock", 1)]
    assert remarkable == [0, 1, 2]
    plain, none = outcomes_of(many, counts, [])
    assert ([one.rows for one in plain], none) == ([1, 0, 2, 1], [1, 2])
