"""Rules of text from outside."""

from __future__ import annotations

from almenara.model.text import one_line


def test_one_line_is_one_line() -> None:
    assert one_line(" a\r\nb\tc\u2029d\u202e e ") == "a b c d e"
    assert one_line("x" * 500, 10) == "x" * 9 + "…"
