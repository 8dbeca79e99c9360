"""PromQL text to an expression tree. The library `promql-parser` reads the text; nothing of it leaves this file.

Syntax: https://prometheus.io/docs/prometheus/latest/querying/basics/. What PromQL has and this version does not
evaluate is a NotSupported that names it, so nothing is ever answered in a different meaning.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

from almenara.model.errors import MissingExtra, NotSupported, QuerySyntax, QueryTooLarge
from almenara.query import syntax
from almenara.query.expression import (
    AGGREGATIONS,
    COMPARISONS,
    FUNCTIONS,
    SETS,
    Absent,
    Aggregate,
    Binary,
    Call,
    Expr,
    Matching,
    Negate,
    Number,
    Selector,
    Window,
    is_scalar,
)
from almenara.query.matcher import NAME, OPERATORS, Matcher

MAX_TEXT = 20_000  # characters
MAX_OPERATORS = 100  # and nested brackets: the library's stack is finite, and its time grows with their square

_COMPARISON_HINT = 'write a threshold as: selector operator number, for example cpu_usage{host="a"} > 90'


def parse(text: str) -> Expr:
    """The tree of an expression. Raises QuerySyntax (it does not parse), NotSupported, QueryTooLarge (past a limit)."""
    library = _library()
    if len(text) > MAX_TEXT:
        raise QueryTooLarge(f"query of {len(text)} characters; expected at most {MAX_TEXT}")
    tokens = syntax.tokens(text)
    if syntax.weight(tokens) > MAX_OPERATORS:
        raise QueryTooLarge(f"query with more than {MAX_OPERATORS} operators or nested brackets; split it up")
    try:
        tree = library.parse(text)
    except ValueError as error:
        raise QuerySyntax(syntax.explain(text, tokens, str(error), library.parse)) from error
    return _Translator(library, text).expression(tree)


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The conditions of a plain selector such as `cpu_usage{host="a"}`. Raises QuerySyntax, NotSupported."""
    expr = parse(text)
    if not isinstance(expr, Selector) or expr.offset_ns:
        raise NotSupported(f'{text!r} is no plain selector; write one such as cpu_usage{{host="a"}}')
    return expr.matchers


def parse_comparison(text: str) -> tuple[tuple[Matcher, ...], str, float]:
    """(matchers, operator, number) of a threshold such as `cpu_usage{host="a"} > 90`.

    Raises QuerySyntax, NotSupported.
    """
    expr = parse(text)
    if not isinstance(expr, Binary) or expr.op not in COMPARISONS or not is_scalar(expr.right):
        raise NotSupported(f"{text!r} is no threshold; {_COMPARISON_HINT}")
    if expr.returns_bool:
        raise NotSupported(f"{text!r}: a threshold takes no bool; {_COMPARISON_HINT}")
    if not isinstance(expr.left, Selector) or expr.left.offset_ns:
        raise NotSupported(f"{text!r}: what stands left of {expr.op} is no plain selector; {_COMPARISON_HINT}")
    from almenara.query.operators import constant  # numpy: not needed to parse

    return expr.left.matchers, expr.op, constant(expr.right)


def _library() -> Any:
    try:
        import promql_parser
    except ImportError as error:
        raise MissingExtra("parsing expressions", "hub") from error
    return promql_parser


def _nanoseconds(duration: timedelta | None) -> int:
    if duration is None:
        return 0
    return (duration.days * 86_400 + duration.seconds) * 1_000_000_000 + duration.microseconds * 1000


class _Translator:
    """The library's tree to ours, node by node."""

    def __init__(self, library: Any, text: str):
        self.lib = library
        self.text = text

    def refuse(self, what: str) -> NoReturn:
        raise NotSupported(f"{what} is not supported yet; found in {syntax.shorten(self.text)!r}")

    def expression(self, node: Any) -> Expr:  # noqa: RET503, the last line raises
        lib = self.lib
        if isinstance(node, lib.NumberLiteral):
            return Number(float(node.val))
        if isinstance(node, lib.ParenExpr):
            return self.expression(node.expr)
        if isinstance(node, lib.VectorSelector):
            return self.selector(node)
        if isinstance(node, lib.UnaryExpr):
            return Negate(self.expression(node.expr))
        if isinstance(node, lib.BinaryExpr):
            return self.binary(node)
        if isinstance(node, lib.AggregateExpr):
            return self.aggregate(node)
        if isinstance(node, lib.Call):
            return self.call(node)
        if isinstance(node, lib.MatrixSelector):
            self.refuse("a range selector outside a function (samples as stored are at /api/v1/export)")
        if isinstance(node, lib.SubqueryExpr):
            self.refuse("a subquery")
        self.refuse("a text as an expression" if isinstance(node, lib.StringLiteral) else type(node).__name__)

    def selector(self, node: Any) -> Selector:
        if node.at is not None:
            self.refuse("the modifier @")
        if node.matchers.or_matchers:
            self.refuse("`or` between matchers")
        matchers = [Matcher(m.name, self.operator(m.op), m.value) for m in node.matchers.matchers]
        if node.name:
            matchers.insert(0, Matcher(NAME, "=", node.name))
        if all(m.matches("") for m in matchers):
            raise QuerySyntax(
                f"{syntax.shorten(self.text)!r}: a selector that every series fulfils; "
                "expected a name or at least one matcher that the empty text does not fulfil"
            )
        return Selector(tuple(matchers), _nanoseconds(node.offset))

    def operator(self, op: Any) -> str:
        kinds = self.lib.MatchOp
        pairs = zip((kinds.Equal, kinds.NotEqual, kinds.Re, kinds.NotRe), OPERATORS, strict=True)
        return next(sign for kind, sign in pairs if op == kind)

    def binary(self, node: Any) -> Binary:
        op, modifier = str(node.op), node.modifier
        if op == "atan2":
            self.refuse(f"the operator {op}")
        left, right = self.expression(node.lhs), self.expression(node.rhs)
        if modifier is None:
            return Binary(op, left, right)
        if op not in SETS and modifier.card != self.lib.VectorMatchCardinality.OneToOne:
            self.refuse("group_left or group_right")
        fill = modifier.fill_values
        if fill is not None and (fill.lhs is not None or fill.rhs is not None):
            self.refuse("the modifier fill")
        matching = Matching()
        if modifier.matching is not None:
            on = modifier.matching.type == self.lib.LabelModifierType.Include
            matching = Matching(tuple(modifier.matching.labels), on)
            if is_scalar(left) or is_scalar(right):
                word = "on" if on else "ignoring"
                raise QuerySyntax(
                    f"{syntax.shorten(self.text)!r}: {word}() between a scalar and a vector; expected two vectors"
                )
        return Binary(op, left, right, bool(modifier.return_bool), matching)

    def aggregate(self, node: Any) -> Aggregate:
        op = str(node.op)
        if op not in AGGREGATIONS:
            self.refuse(f"the aggregation {op}")
        operand = self.expression(node.expr)
        if node.modifier is None:
            return Aggregate(op, operand)
        without = node.modifier.type == self.lib.AggModifierType.Without
        return Aggregate(op, operand, tuple(node.modifier.labels), without)

    def call(self, node: Any) -> Call | Absent:
        name, args = node.func.name, list(node.args)
        if name == "absent":
            operand = self.expression(args[0])
            return Absent(operand, _absent_labels(operand) if isinstance(operand, Selector) else ())
        if name == "absent_over_time":
            window = self.window(args[0])
            return Absent(Call("present_over_time", window), _absent_labels(window.selector))
        if name not in FUNCTIONS:
            self.refuse(f"the function {name}()")
        if name == "predict_linear":
            args = args[::-1]  # its window comes first
        return Call(name, self.window(args[-1]), self.expression(args[0]) if len(args) == 2 else None)

    def window(self, ranged: Any) -> Window:
        """The range selector that a function takes."""
        while isinstance(ranged, self.lib.ParenExpr):
            ranged = ranged.expr
        if isinstance(ranged, self.lib.SubqueryExpr):
            self.refuse("a subquery")
        range_ns = _nanoseconds(ranged.range)
        if range_ns <= 0:
            raise QuerySyntax(
                f"{syntax.shorten(self.text)!r}: a range of 0; expected one of at least 1ms, such as [5m]"
            )
        return Window(self.selector(ranged.vector_selector), range_ns)


def _absent_labels(selector: Selector) -> tuple[tuple[str, str], ...]:
    """Labels of what is absent: those that the selector says as equal, each once."""
    said = [m.label for m in selector.matchers]
    kept = (m for m in selector.matchers if m.op == "=" and m.label != NAME and said.count(m.label) == 1 and m.value)
    return tuple(sorted((m.label, m.value) for m in kept))
