"""ClickHouse's Native format to and from columns."""

from __future__ import annotations

import numpy as np
import pytest

from almenara.stores.native import decode_blocks, encode_block


def test_a_block_is_what_the_format_says() -> None:
    block = encode_block([("a", "UInt32", np.array([1, 258], np.uint32)), ("key", "String", [b"\xff\xfe", b""])], 2)
    assert block == b"\x02\x02\x01a\x06UInt32\x01\0\0\0\x02\x01\0\0\x03key\x06String\x02\xff\xfe\x00"


def test_columns_come_back_from_any_number_of_blocks() -> None:
    long = b"x" * 300
    blocks = [
        encode_block(
            [("t", "Int64", np.array(times)), ("v", "Float64", values), ("s", "String", [long] * len(times))], n
        )
        for times, values, n in (([1, -2], [0.5, np.nan], 2), ([3], [-0.0], 1))
    ]
    time, value, text = decode_blocks(b"".join(blocks))
    assert time.tolist() == [1, -2, 3]
    assert value.tobytes() == np.array([0.5, np.nan, -0.0]).tobytes()
    assert text == [long] * 3
    assert decode_blocks(b"") == []


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="column v: 2 values; expected 3"):
        encode_block([("v", "Float64", np.zeros(2))], 3)
