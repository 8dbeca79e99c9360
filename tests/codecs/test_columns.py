"""Columns: rows come back to the bit, what is damaged is refused before anything is allocated."""

from __future__ import annotations

import numpy as np
import pytest

from almenara.codecs.columns import HEAD, MAGIC, Columns, message, split
from almenara.model.batch import Batch
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, Series
from almenara.plugin.contracts import Context
from almenara.testing.codecs import rows_of

KEYS = [Series.of("load", host="a").key, Series.of("load", host="b").key]
ID, TIME = np.array([0, 1, 1], np.int32), np.array([1, 2, 3], np.int64) * 10**18
VALUE = np.array([0.1, np.nan, -0.0])


def test_rows_and_metadata_come_back_to_the_bit() -> None:
    sent = message(KEYS, ID, TIME, VALUE, {1: Metadata("s", "counter", "seconds ü")})
    decoded = Columns().decode(sent, Context())
    b = decoded.batch
    assert [b.series.keys[i] for i in b.id] == [KEYS[0], KEYS[1], KEYS[1]]
    assert (b.time.tobytes(), b.value.tobytes()) == (TIME.tobytes(), VALUE.tobytes())
    assert decoded.metadata == {KEYS[1]: Metadata("s", "counter", "seconds ü")}


def test_the_same_keys_have_the_same_ids() -> None:
    codec = Columns()
    first = codec.decode(message(KEYS, ID, TIME, VALUE), Context()).batch
    codec.decode(message([b"other", KEYS[1]], ID, TIME, VALUE), Context())
    again = codec.decode(message(KEYS, ID, TIME, VALUE), Context()).batch
    assert again.series is first.series
    assert again.id.tolist() == first.id.tolist()
    assert len(first.series) == 3


def test_columns_are_aligned_whatever_the_keys_are() -> None:
    for n in range(1, 9):
        batch = Columns().decode(message([b"k" * n], np.zeros(3, np.int32), TIME, VALUE), Context()).batch
        assert all(column.flags.aligned for column in (batch.id, batch.time, batch.value))


def test_bad_keys_and_infinities_are_rejected_by_name() -> None:
    keys = [b"good", b"", b"\xff\xfe", b"b\xffz\xfe1\xffa\xfe2"]
    value = np.array([1.0, np.inf, 2.0, 3.0, 4.0])
    decoded = Columns().decode(message(keys, np.array([0, 0, 1, 2, 3], np.int32), np.arange(5), value), Context())
    assert rows_of(decoded) == [(b"good", 0, 1.0)]
    assert [(one.where, one.reason, one.rows) for one in decoded.rejected] == [
        ("row 3", "bad_series", 3),
        ("row 2", "not_finite", 1),
    ]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        HEAD.pack(MAGIC, 2, 0, 0, 0, 0, 0, 0),
        HEAD.pack(MAGIC, 1, 0, 0, 0, 0, 0, 2**32 - 1),
        HEAD.pack(MAGIC, 1, 0, 0, 2**32 - 1, 0, 0, 0),
        HEAD.pack(MAGIC, 1, 0, 0, 0, 0, 0, 1_000_000),
        HEAD.pack(MAGIC, 1, 0, 0, 1, 7, 0, 0) + b"\x03\x00" + b"abcdefg" + b"\x00" * 7,
        message(KEYS, np.array([0, 2, 1], np.int32), TIME, VALUE),
        message(KEYS, np.array([0, -1, 1], np.int32), TIME, VALUE),
        message(KEYS, ID, TIME, VALUE) + b"\x00",
    ],
)
def test_what_is_damaged_is_refused_whole(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        Columns().decode(payload, Context())


def test_metadata_that_is_none_is_refused() -> None:
    sent = message(KEYS, ID, TIME, VALUE, {0: Metadata("s")})
    for wrong in (b'[[9,"s","",""]]', b'[[0,"s","","","x', b"[" * 15, b'[{},"s","",""]]'):
        with pytest.raises(DecodeError):
            Columns().decode(sent.replace(b'[[0, "s", "", ""]]'[: len(wrong)], wrong), Context())


def test_messages_are_split_wherever_the_stream_was_cut() -> None:
    one, two = message(KEYS, ID, TIME, VALUE), message([b"x"], ID * 0, TIME, VALUE)
    stream, found = bytearray(), []
    for at in range(0, len(one + two), 7):
        stream += (one + two)[at : at + 7]
        found += split(stream)
    assert found == [one, two]
    assert not stream


def test_only_series_with_rows_are_written() -> None:
    table = Batch.of([(b"a", 1, 1.0), (b"b", 2, 2.0), (b"c", 3, 3.0)])
    some = Batch(table.series, np.array([2, 0], np.int32), np.array([5, 6]), np.array([7.0, 8.0]))
    decoded = Columns().decode(Columns().encode(some), Context())
    assert list(decoded.batch.series.keys) == [b"a", b"c"]
    assert rows_of(decoded) == [(b"c", 5, 7.0), (b"a", 6, 8.0)]
