"""What a rule says, as an expression: which series alarm, which are known not to, which other rules it speaks of.

One word is added to PromQL: `rule("NAME")`, 1 for each set of labels (without a name) for which that rule is firing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from almenara.model.errors import NotSupported
from almenara.query import syntax
from almenara.query.expression import COMPARISONS, Absent, Aggregate, Binary, Call, Expr, Negate, Selector, is_scalar
from almenara.query.matcher import NAME, Matcher
from almenara.query.parse import parse

#: The series that `rule("NAME")` stands for, and its label with the name.
RULE, RULE_NAME = "__rule__", "rule"
_HINT = 'compare it with something, for example cpu_usage{host="a"} > 90'
_OPPOSITE = {">": "<=", "<=": ">", "<": ">=", ">=": "<", "==": "!=", "!=": "=="}


@dataclass(frozen=True, slots=True)
class Condition:
    """expr: each series of its answer is alarming. otherwise: those of its answer are known and are not; None where
    nobody can tell them from series without data. rules: names of the rules that it speaks of."""

    expr: Expr
    otherwise: Expr | None
    rules: tuple[str, ...]

    @property
    def threshold(self) -> tuple[tuple[Matcher, ...], str, float] | None:
        """(matchers, operator, number) where it is no more than a selector, an operator and a number."""
        expr = self.expr
        if not isinstance(expr, Binary) or expr.op not in COMPARISONS or expr.returns_bool or not is_scalar(expr.right):
            return None
        if not isinstance(expr.left, Selector) or expr.left.offset_ns or self.rules:
            return None
        return expr.left.matchers, expr.op, limit_of(expr)

    @property
    def limit(self) -> tuple[str, float] | None:
        """(operator, number) where series are compared with a number."""
        expr = self.expr
        if isinstance(expr, Binary) and expr.op in COMPARISONS and not expr.returns_bool and is_scalar(expr.right):
            return expr.op, limit_of(expr)
        return None

    @property
    def is_of_rules_alone(self) -> bool:
        """Does it read no stored row?"""
        return all(_is_rule(one) for one in selectors(self.expr))


def parse_condition(text: str) -> Condition:
    """The condition that a text says. Raises QuerySyntax, NotSupported, QueryTooLarge."""
    expr = parse(_with_rules(text))
    if is_scalar(expr):
        raise NotSupported(f"{syntax.shorten(text)!r} is a number; a rule wants series, such as cpu_usage > 90")
    rules = []
    for one in selectors(expr):
        if _is_rule(one):
            rules.append(next(m.value for m in one.matchers if m.label == RULE_NAME))
        elif any((m.label, m.op, m.value) == (NAME, "=", "ALERTS") for m in one.matchers):
            raise NotSupported('ALERTS is not known here; rule("NAME") stands for the firing alarms of a rule')
    if isinstance(expr, Selector) and not _is_rule(expr):
        raise NotSupported(f"{syntax.shorten(text)!r} holds for every series that has a value; {_HINT}")
    if any(_is_rule(call.window.selector) for call in _calls(expr)):
        raise NotSupported('rule("NAME") is known for now only; a range of it, such as rule("NAME")[5m], is not')
    otherwise = None
    if isinstance(expr, Binary) and expr.op in COMPARISONS and not expr.returns_bool:
        otherwise = replace(expr, op=_OPPOSITE[expr.op])
    return Condition(expr, otherwise, tuple(dict.fromkeys(rules)))


def limit_of(expr: Binary) -> float:
    """The number on the right of a comparison."""
    from almenara.query.operators import constant  # numpy: not needed to parse

    return constant(expr.right)


def selectors(expr: Expr) -> Iterator[Selector]:
    """Every selector in an expression."""
    for one in _parts(expr):
        if isinstance(one, Selector):
            yield one
        elif isinstance(one, Call):
            yield one.window.selector


def _calls(expr: Expr) -> Iterator[Call]:
    return (one for one in _parts(expr) if isinstance(one, Call))


def _parts(expr: Expr) -> Iterator[Expr]:
    yield expr
    if isinstance(expr, Binary):
        yield from _parts(expr.left)
        yield from _parts(expr.right)
    elif isinstance(expr, Negate | Aggregate | Absent):
        yield from _parts(expr.operand)


def _is_rule(selector: Selector) -> bool:
    return any(m.label == NAME and m.value == RULE for m in selector.matchers)


def _with_rules(text: str) -> str:
    """The text with `rule("x")` as a selector, which is what the parser knows."""
    found, at, parts = syntax.tokens(text), 0, []
    for n, word in enumerate(found[:-3]):
        opened, name, closed = found[n + 1 : n + 4]
        if word.text == "rule" and opened.text == "(" and closed.text == ")" and name.text[0] in "\"'`":
            parts += [text[at : word.start], f"{RULE}{{{RULE_NAME}={name.text}}}"]
            at = closed.start + 1
    return "".join([*parts, text[at:]])
