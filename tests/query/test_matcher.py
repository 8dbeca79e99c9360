"""Conditions on labels, and regular expressions that cannot hang the hub."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.model.errors import NotSupported, QuerySyntax
from almenara.query import Matcher, match_all
from almenara.query.regex import _Machine, compile_full_match, sre


@pytest.mark.parametrize(
    ("op", "value", "text", "expected"),
    [
        ("=", "a", "a", True),
        ("=", "a", "", False),
        ("=", "", "", True),
        ("!=", "a", "", True),
        ("!=", "a", "a", False),
        ("=~", "a.*", "abc", True),
        ("=~", "b", "abc", False),
        ("=~", "a|b", "b", True),
        ("=~", ".*", "", True),
        ("=~", ".+", "", False),
        ("=~", "a.b", "a\nb", True),
        ("!~", "a.*", "abc", False),
        ("!~", "a.*", "", True),
    ],
)
def test_operators_anchored_and_missing_label_is_empty(op: str, value: str, text: str, expected: bool) -> None:
    assert Matcher("x", op, value).matches(text) is expected


def test_matchers_are_equal_by_what_they_say_and_print_as_promql() -> None:
    assert Matcher("a", "=~", "x.*") == Matcher("a", "=~", "x.*")
    assert len({Matcher("a", "=", 'q"\\'), Matcher("a", "=", 'q"\\')}) == 1
    assert str(Matcher("a", "=", 'q"\\')) == 'a="q\\"\\\\"'


def test_match_all_reads_the_name_as_a_label() -> None:
    matchers = (Matcher("__name__", "=", "cpu"), Matcher("host", "!=", "b"))
    assert match_all(matchers, {"__name__": "cpu", "host": "a"})
    assert not match_all(matchers, {"__name__": "cpu", "host": "b"})


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a?){30}a{30}", ".*a.*a.*a.*a.*a.*b", "(a*)*(a*)*b"])
def test_patterns_that_blow_up_elsewhere_take_linear_time(pattern: str) -> None:
    begun = time.process_time()
    assert not Matcher("x", "=~", pattern).matches("a" * 2000 + "!")
    assert time.process_time() - begun < 2


PATTERNS = [
    "a|bc|",
    "a*b+c?",
    "(?:ab|c)*",
    "(a|b*)*c",
    "[a-c]{2,3}",
    "[^ab]+a",
    "(a{1,2}|b){2}",
    r"\w+\d*",
    r"\W|\S\s",
    r"\bab\b.*",
    r"a\Bb.*",
    "^a.*c$",
    "(?i)aB+",
    "(?i:a)b",
    "(?i)[^a]b",
    "a??b*?c",
    "(?-s:a.c)|b",
    "(?m)a$.^b",
    "",
    "(?P<n>a)b",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=60, deadline=None)
@given(text=st.text("abcAB1 \n", max_size=6))
def test_the_machine_agrees_with_re(pattern: str, text: str) -> None:
    flags = re.ASCII | re.DOTALL
    expected = re.compile(pattern, flags).fullmatch(text) is not None
    assert _Machine(pattern, sre.parse(pattern, flags)).matches(text) == expected
    assert compile_full_match(pattern)(text) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "a(",
        "[",
        "a\\",
        "(a{1,1000}){1,1000}",
        "x" * 10_001,
        "(?<n>a)",
        "*",
        *("(" * n + "a" + ")*" * n for n in (300, 900)),
    ],
)
def test_bad_patterns_are_syntax_errors(pattern: str) -> None:
    with pytest.raises(QuerySyntax):
        Matcher("x", "=~", pattern)


@pytest.mark.parametrize("pattern", ["(?=a)b", "(?<!a)b", r"(a)\1", "(?>a)b", "a++", "[[:alpha:]]", "(a)?(?(1)b|c)"])
def test_what_re2_does_not_have_is_named(pattern: str) -> None:
    with pytest.raises(NotSupported, match="not supported"):
        Matcher("x", "=~", pattern)


def test_unknown_operator_is_refused() -> None:
    with pytest.raises(QuerySyntax, match="expected one of"):
        Matcher("x", "==", "a")
