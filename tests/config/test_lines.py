"""Lines of keys in TOML, the odd but legal forms included."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almenara.config.lines import join, line_of, locate
from almenara.plugin.values import render, toml_key

ODD = '''\
# a comment with [brackets] and = signs
version = 1
"quoted key"."with.dots" . plain = 3

[site] # [not.a.table]
name = "a # no comment ] }"
[transports . "a b"]
text = """
[looks.like.a.table]
key = "value"
a quote at the end"""""
raw = \'\'\'
x = 1
\'\'\'
escaped = "a \\" b = \\\\"
after = 1
list = [
  1, # one
  { x = 1, y = [ "]", '}' ] },
  [ 2,
    3 ],
]
inline = { a.b = 1, "c d" = { e = 2 } }
[[rules]]
name = "first"
[rules.labels]
a = "b"
[[rules]]
name = "second"
  [[rules.steps]]
  n = 1
  [[rules.steps]]
  n = 2
[data]
when = 2026-01-01 00:00:00
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("version",), 2),
        (("quoted key", "with.dots", "plain"), 3),
        (("site",), 5),
        (("site", "name"), 6),
        (("transports", "a b"), 7),
        (("transports", "a b", "raw"), 12),
        (("transports", "a b", "escaped"), 15),
        (("transports", "a b", "after"), 16),
        (("transports", "a b", "list"), 17),
        (("transports", "a b", "list", 1, "y"), 19),
        (("transports", "a b", "list", 2, 1), 21),
        (("transports", "a b", "inline", "a", "b"), 23),
        (("transports", "a b", "inline", "c d", "e"), 23),
        (("rules", 0, "name"), 25),
        (("rules", 0, "labels", "a"), 27),
        (("rules", 1, "name"), 29),
        (("rules", 1, "steps", 1, "n"), 33),
        (("data", "when"), 35),
    ],
)
def test_every_key_has_its_line(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(ODD)
    assert locate(ODD)[join(path)] == line


def test_what_is_not_there_has_the_line_of_its_table() -> None:
    lines = locate(ODD)
    assert line_of(lines, "site.timezone") == 5
    assert line_of(lines, 'transports."a b".list[7].x') == 17
    assert line_of(lines, "sites.timezone") == 0
    assert line_of(lines, "sit") == 0


def test_windows_line_ends_and_no_line_end_at_the_end() -> None:
    assert locate("a = 1\r\n[b]\r\nc = 2") == {"a": 1, "b": 2, "b.c": 3}
    assert locate("") == {}
    assert locate("# only a comment") == {}


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for k, v in children for p in [(*path, k), *paths(v, (*path, k))]]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.integers(-5, 5) | st.booleans() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_any_document_has_a_line_for_every_key(document: dict[str, Any]) -> None:
    text = "".join(f"{toml_key(k)} = {render(v)}\n" for k, v in document.items())
    assert tomllib.loads(text) == document
    lines = locate(text)
    assert set(lines) == {join(p) for p in paths(document)}
    for line, key in enumerate(document, 1):
        assert lines[join((key,))] == line
