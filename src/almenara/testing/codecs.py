"""What every codec must do, as plain functions: run them on a codec of your own with pytest or without.

Each case takes a function that makes a new codec and raises AssertionError where it breaks the contract; `CASES` has
them all. A codec whose times are coarser than ns says so with `every_ns`, which all cases take.

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_my_codec(case):
        case(MyCodec)
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, Series
from almenara.plugin.contracts import Codec, Context

Make = Callable[[], Codec]
Row = tuple[bytes, int, float]

NOW = 1_760_000_000_000_000_000
CONTEXT = Context(topic="checks/codec", received_ns=NOW)


def rows_of(decoded: Decoded) -> list[Row]:
    """(key, time, value) of every row, in order."""
    b = decoded.batch
    return [(b.series.keys[i], int(t), float(v)) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


def example(rows: int = 40, every_ns: int = 1_000_000) -> Batch:
    """Rows of a few series with labels that need quoting somewhere, values from tiny to huge, times from 1971 on."""
    series = (
        Series.of("plain"),
        Series.of("temperature", city="São Paulo", id="CITI-7"),
        Series.of("quoted", a='x "y" z', b="1,2=3", c="back\\slash", d="{}[]#|;"),
        Series.of("digits:total", le="+Inf", n="0012"),
    )
    values = (0.0, -1.5, 20.04, 0.1 + 0.2, 1e300, -5e-324, 123456789012345.0, 2.0**63)
    return Batch.of(
        [(series[k % len(series)], (NOW // every_ns + k) * every_ns, values[k % len(values)]) for k in range(rows)]
    )


def damaged(payload: bytes, seed: int = 1) -> Iterator[bytes]:
    """Bytes that nobody meant to send: nothing, noise, and the payload cut short, mixed up, doubled and blown up."""
    chance = random.Random(seed)  # noqa: S311
    yield from (b"", b"\n", b"\x00" * 100, b"\xff\xfe" * 50, payload.decode(errors="replace").encode("utf-16"))
    yield from (b"{" * 10_000, b"[" * 10_000, b'"' * 10_001, b"," * 10_000, b"9" * 10_000, b"\\" * 10_001)
    yield from (payload[:n] for n in range(0, len(payload), 1 + len(payload) // 200))
    for size in (1, 7, 64, 1000, 100_000):
        yield chance.randbytes(size)
    for _ in range(300):
        changed = bytearray(payload)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed)
    cut = chance.randrange(len(payload))
    yield from (payload[cut:] + payload[:cut], payload * 2, payload.replace(b'"', b""), b"x" * 1_000_000 + payload)


def try_decode(codec: Codec, payload: bytes, context: Context = CONTEXT) -> Decoded | None:
    """What a codec makes of any bytes, checked for shape; None for a DecodeError. Any other error is let through."""
    try:
        decoded = codec.decode(payload, context)
    except DecodeError as error:
        said = str(error)
    else:
        _check_shape(decoded)
        return decoded
    assert 0 < len(said) < 1000, "a DecodeError says in a few words where and what"
    return None


def _check_shape(decoded: Decoded) -> None:
    batch = decoded.batch
    keys = batch.series.keys
    assert len(batch.id) == len(batch.time) == len(batch.value), "columns differ in length"
    kinds = [memoryview(column).format.lstrip("<=@") for column in (batch.id, batch.time, batch.value)]
    assert kinds in (["i", "l", "d"], ["i", "q", "d"]), f"columns are {kinds}, expected int32, int64, float64"
    assert all(0 <= id < len(keys) for id in set(batch.id)), "an id points outside the table"
    assert not any(map(math.isinf, batch.value)), "an infinity came through"
    for id in set(batch.id):
        assert len(keys[id]) <= MAX_KEY_BYTES, "a key is too long"
        assert Series.from_key(keys[id]).key == keys[id], "a key is not as encode_key makes it"
    for one in decoded.rejected:
        named = one.rows >= 1 and one.where and one.reason.replace("_", "").isalnum()
        assert named, f"{one} names no reason"


def any_bytes_give_rows_or_a_decode_error(make: Make, every_ns: int = 1) -> None:
    codec = make()
    for payload in damaged(make().encode(example(every_ns=every_ns))):
        try_decode(codec, payload)


def what_is_encoded_is_read_back(make: Make, every_ns: int = 1) -> None:
    codec, batch = make(), example(every_ns=every_ns)
    decoded = codec.decode(codec.encode(batch), CONTEXT)
    assert sorted(rows_of(decoded)) == sorted(rows_of(Decoded(batch)))
    assert not decoded.rejected
    assert len(codec.decode(codec.encode(Batch.of([])), CONTEXT).batch) == 0


def the_last_of_equal_rows_stays_last(make: Make, every_ns: int = 1) -> None:
    batch = Batch.of([(b"a", NOW, 1.0), (b"b", NOW, 5.0), (b"a", NOW, 2.0)])
    codec = make()
    assert {key: value for key, _, value in rows_of(codec.decode(codec.encode(batch), CONTEXT))}[b"b"] == 5.0
    assert [v for key, _, v in rows_of(codec.decode(codec.encode(batch), CONTEXT)) if key == b"a"][-1] == 2.0


def the_same_bytes_give_the_same_rows(make: Make, every_ns: int = 1) -> None:
    """Whatever the codec has read before."""
    used, payload = make(), make().encode(example(every_ns=every_ns))
    for other in damaged(payload, seed=2):
        try_decode(used, other)
        new = try_decode(make(), other)
        again = try_decode(used, other)
        assert (new is None) == (again is None), f"{other[:40]!r} is read only sometimes"
        if new is not None and again is not None:
            assert repr(rows_of(new)) == repr(rows_of(again)), f"{other[:40]!r} gave other rows"
            assert new.rejected == again.rejected, f"{other[:40]!r} was rejected in another way"
            assert new.metadata == again.metadata, f"{other[:40]!r} gave other metadata"


def an_earlier_batch_stays_as_it_was(make: Make, every_ns: int = 1) -> None:
    """Later payloads neither change the columns of an earlier batch nor what its ids mean."""
    codec = make()
    first = codec.decode(codec.encode(example(every_ns=every_ns)), CONTEXT)
    before = repr(rows_of(first))
    for n in range(50):
        other = Batch.of([(Series.of(f"other_{n}", host=str(k)), NOW, float(k)) for k in range(20)])
        codec.decode(codec.encode(other), CONTEXT)
    assert repr(rows_of(first)) == before


def many_bad_rows_cost_few_objects(make: Make, every_ns: int = 1) -> None:
    """What is rejected is counted; a payload of nothing else does not become a list as long as itself."""
    codec = make()
    good = codec.encode(example(1, every_ns))
    decoded = try_decode(codec, good + b"\x01 rubbish\n" * 20_000)
    assert decoded is None or len(decoded.rejected) < 1000


CASES: Sequence[Callable[..., None]] = (
    any_bytes_give_rows_or_a_decode_error,
    what_is_encoded_is_read_back,
    the_last_of_equal_rows_stays_last,
    the_same_bytes_give_the_same_rows,
    an_earlier_batch_stays_as_it_was,
    many_bad_rows_cost_few_objects,
)
