"""InfluxQL from text: what statements say, and that no text breaks the parser."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.model.errors import NotSupported, QueryError, QuerySyntax
from almenara.query.influxql import CreateDatabase, Select, Show, parse
from almenara.query.influxql.syntax import Binary, Call, Duration, Number, Ref, Regex, Star, Text

S = 1_000_000_000


def one(text: str) -> Select:
    (statement,) = parse(text)
    assert isinstance(statement, Select)
    return statement


def test_a_statement_of_grafanas_builder() -> None:
    found = one(
        'SELECT mean("value") /100 AS "text" FROM "autogen"."cpu" WHERE ("host" = \'a\') AND time >= now() - 6h '
        'GROUP BY time(1m, 10s), "host"::tag, * fill(-1.5) ORDER BY time DESC LIMIT 3 OFFSET 1 SLIMIT 2 SOFFSET 4 '
        "tz('Europe/Berlin')"
    )
    assert found.fields[0].alias == "text"
    assert found.fields[0].expr == Binary("/", Call("mean", (Ref("value"),)), Number(100))
    assert (found.sources[0].policy, found.sources[0].name) == ("autogen", "cpu")
    groups = found.groups
    assert (groups.every_ns, groups.offset_ns, groups.fill) == (60 * S, 10 * S, -1.5)
    assert groups.tags == (Ref("host", "tag"), Star())
    cut = found.cut
    assert (cut.limit, cut.offset, cut.slimit, cut.soffset) == (3, 1, 2, 4)
    assert (found.descending, found.zone) == (True, "Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ("a / b", Binary("/", Ref("a"), Ref("b"))),
        ("1 + 2 * a", Binary("+", Number(1), Binary("*", Number(2), Ref("a")))),
        ("(1 + 2) * a", Binary("*", Binary("+", Number(1), Number(2)), Ref("a"))),
        ("-a", Binary("*", Number(-1), Ref("a"))),
        ("/a\\/b/", Regex("a/b")),
        ('"a\\"b"', Ref('a"b')),
        ("mean(/x/)/2", Binary("/", Call("mean", (Regex("x"),)), Number(2))),
        ("derivative(MEAN(v), 1h30m)", Call("derivative", (Call("mean", (Ref("v"),)), Duration(5400 * S)))),
    ],
)
def test_expressions(text: str, expr: object) -> None:
    assert one(f"SELECT {text} FROM m").fields[0].expr == expr


def test_texts_have_escapes_and_parameters_are_bound() -> None:
    assert one("SELECT v FROM m WHERE a = 'Let\\'s'").where == Binary("=", Ref("a"), Text("Let's"))
    (found,) = parse("SELECT v FROM m WHERE a = $a AND v > $n", {"a": "x' OR 'y", "n": 2})
    assert isinstance(found, Select)
    first, second = Binary("=", Ref("a"), Text("x' OR 'y")), Binary(">", Ref("v"), Number(2))
    assert found.where == Binary("AND", first, second)
    with pytest.raises(QuerySyntax, match="missing parameter: b"):
        parse("SELECT v FROM m WHERE a = $b")


def test_several_statements() -> None:
    found = parse('CREATE DATABASE "x y"; SHOW TAG VALUES ON db FROM m WITH KEY IN (a, "b") WHERE c =~ /d/ LIMIT 5;')
    assert found[0] == CreateDatabase("x y")
    assert isinstance(found[1], Show)
    assert (found[1].what, found[1].database, found[1].wanted) == ("tag values", "db", ("=", ("a", "b")))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT v FROM m nonsense", "found nonsense, expected ; at line 1, char 17"),
        ("SELECT v\nFROM", "found EOF, expected identifier at line 2, char 5"),
        ("SELECT v FROM m GROUP BY time(v)", "time dimension must have duration argument"),
        ("SELECT v FROM m GROUP BY time(1m), time(2m)", "multiple time dimensions"),
        ("SELECT v FROM m fill(x)", "fill requires an argument"),
        ("SELECT v FROM m ORDER BY v", "only ORDER BY time"),
        ("SELECT 'open FROM m", "expected a token"),
        ("SELECT " + "(" * 100 + "v", "brackets inside brackets"),
        (";".join(["SHOW DATABASES"] * 101), "found 101 statements"),
    ],
)
def test_what_does_not_parse_says_where(text: str, words: str) -> None:
    with pytest.raises(QuerySyntax) as raised:
        parse(text)
    assert words in str(raised.value)


def test_what_is_not_done_is_refused_by_name() -> None:
    for text in ("DROP MEASUREMENT m", "SELECT v FROM (SELECT v FROM m)", "SELECT v INTO x FROM m", "SHOW USERS"):
        with pytest.raises(NotSupported, match="not supported yet"):
            parse(text)


TEXTS = (
    "SELECT SHOW FROM WHERE GROUP BY time ( ) , ; . / * + - = =~ !~ < >= 'a' \"b\" /c/ m v 5 1m 2.5 now() fill limit "
    "DISTINCT AND OR $x :: tag measurements with key desc order tz as in -- /* true"
)
WORDS = st.sampled_from(TEXTS.split())


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.lists(WORDS, max_size=30).map(" ".join), st.text(max_size=60)))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(QueryError):
        parse(text, {"x": 1})
