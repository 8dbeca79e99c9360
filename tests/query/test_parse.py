"""Text to expression: what parses, what is not supported, and errors that point to the place."""

from __future__ import annotations

import pytest

from almenara.model.errors import NotSupported, QuerySyntax, QueryTooLarge
from almenara.query import Matcher, parse, parse_comparison, parse_selector
from almenara.query.expression import (
    Aggregate,
    Binary,
    Call,
    Matching,
    Negate,
    Number,
    Selector,
    Window,
    is_scalar,
    needs,
)

S = 1_000_000_000
CPU = Selector((Matcher("__name__", "=", "cpu"),))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("cpu", CPU),
        ("((cpu))", CPU),
        ("{__name__='cpu'} # comment", CPU),
        ("cpu offset 1m", Selector(CPU.matchers, 60 * S)),
        ("cpu offset -90s", Selector(CPU.matchers, -90 * S)),
        (
            'cpu{a!="b",c=~"d",e!~"f"}',
            Selector((*CPU.matchers, Matcher("a", "!=", "b"), Matcher("c", "=~", "d"), Matcher("e", "!~", "f"))),
        ),
        ("rate(cpu[1h30m])", Call("rate", Window(CPU, 5400 * S))),
        ("rate(cpu[50ms] offset 1d)", Call("rate", Window(Selector(CPU.matchers, 86400 * S), S // 20))),
        ("quantile_over_time(0.5, cpu[5m])", Call("quantile_over_time", Window(CPU, 300 * S), Number(0.5))),
        ("-cpu", Negate(CPU)),
        ("0x10 + 1e3", Binary("+", Number(16), Number(1000))),
        ("cpu + on(a, b) cpu", Binary("+", CPU, CPU, matching=Matching(("a", "b"), on=True))),
        ("cpu > bool ignoring(a) cpu", Binary(">", CPU, CPU, True, Matching(("a",)))),
        ("sum by (a) (cpu)", Aggregate("sum", CPU, ("a",))),
        ("max(cpu) without (a)", Aggregate("max", CPU, ("a",), without=True)),
        ("count(cpu)", Aggregate("count", CPU)),
        ("cpu + cpu * cpu", Binary("+", CPU, Binary("*", CPU, CPU))),
        ("cpu ^ cpu ^ cpu", Binary("^", CPU, Binary("^", CPU, CPU))),
    ],
)
def test_tree(text: str, tree: object) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo bar", "column 5 of 'foo bar': found 'bar', expected an operator or the end"),
        ("1 +", "column 4 of '1 +': found the end, expected a series, a number or a function"),
        ("sum(a", "column 6 of 'sum(a': found the end, expected an operator or \")\""),
        ("a{b=c}", "column 5 of 'a{b=c}': found 'c', expected a quoted text"),
        ("a{b", "found the end, expected one of = != =~ !~"),
        ("rate(x[5m)", "column 10 of 'rate(x[5m)': found ')', expected \"]\""),
        ("a)", "column 2 of 'a)': found ')', expected an operator or the end"),
        ("sum by (a b) (x)", "column 11 of 'sum by (a b) (x)': found 'b'"),
        ("a\n> > b", "column 5 of 'a > > b': found '>'"),
        ("", "empty query: expected a series"),
        ("# nothing", "empty query"),
        ("rate(a)", "column 1 of 'rate(a)': expected type matrix in call to function 'rate', got vector"),
        ("1 + foo(2)", "column 5 of '1 + foo(2)': unknown function with name 'foo'"),
        ("rate(a[5x])", "column 8 of 'rate(a[5x])': bad number or duration syntax: 5x"),
        ("{x=''}", "at least one non-empty matcher"),
        ("{x=~'.*'}", "at least one non-empty matcher"),
        ("1 == 2", "BOOL modifier"),
        ("a + on(x) 1", "only allowed between vectors"),
        ("a[0s]", "duration must be greater than 0"),
        ('a{b="', "unterminated"),
        ("\x00", "column 1"),
    ],
)
def test_syntax_errors_say_where_and_what(text: str, message: str) -> None:
    with pytest.raises(QuerySyntax) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("topk(3, a)", "the aggregation topk"),
        ("quantile(0.5, a)", "the aggregation quantile"),
        ("histogram_quantile(0.9, a)", "the function histogram_quantile()"),
        ("time()", "the function time()"),
        ("a atan2 b", "the operator atan2"),
        ("a / on(x) group_left(y) b", "group_left or group_right"),
        ("a + fill(1) b", "the modifier fill"),
        ("a[5m]", "a range selector outside a function"),
        ("a[5m:1m]", "a subquery"),
        ("sum_over_time(rate(a[5m])[1h:])", "a subquery"),
        ("a @ 100", "the modifier @"),
        ("rate(a[5m] @ end())", "the modifier @"),
        ('"text"', "a text as an expression"),
        ('a{b="c" or d="e"}', "`or` between matchers"),
    ],
)
def test_what_is_not_supported_is_named(text: str, what: str) -> None:
    with pytest.raises(NotSupported) as caught:
        parse(text)
    assert f"{what} is not supported yet" in str(caught.value).replace(" (samples as stored are at /api/v1/export)", "")


@pytest.mark.parametrize("text", ["(" * 5000 + "a" + ")" * 5000, "-" * 9000 + "a", "a" + "+a" * 4000, "a" * 20_001])
def test_deep_and_long_queries_are_refused(text: str) -> None:
    with pytest.raises(QueryTooLarge):
        parse(text)


def test_a_hundred_operators_are_fine() -> None:
    tree, depth = parse("a" + "+a" * 100), 0
    while isinstance(tree, Binary):
        tree, depth = tree.left, depth + 1
    assert depth == 100


def test_selector() -> None:
    assert parse_selector('cpu{host="a"}') == (*CPU.matchers, Matcher("host", "=", "a"))
    for text in ("rate(cpu[5m])", "cpu offset 5m", "cpu > 1", "1"):
        with pytest.raises(NotSupported, match="plain selector"):
            parse_selector(text)


def test_comparison() -> None:
    assert parse_comparison("cpu > 90") == (CPU.matchers, ">", 90.0)
    assert parse_comparison("cpu <= -(2 + 3) * 1e3") == (CPU.matchers, "<=", -5000.0)
    for text in ("cpu", "cpu + 1", "90 < cpu", "cpu > bool 1", "rate(cpu[5m]) > 1", "cpu offset 1m > 1", "cpu > cpu"):
        with pytest.raises(NotSupported, match="write a threshold as"):
            parse_comparison(text)


def test_needs_names_every_selector_with_its_window() -> None:
    expr = parse("sum(rate(cpu[5m])) / -cpu + 1")
    assert list(needs(expr, 7)) == [(CPU, 300 * S), (CPU, 7)]
    assert not is_scalar(expr)
    assert is_scalar(parse("-1 + (2 * 3)"))
