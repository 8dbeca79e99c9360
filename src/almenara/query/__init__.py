"""Expressions over series, in PromQL syntax: one language for queries, rules, tasks and derived KPIs."""

from typing import TYPE_CHECKING

from almenara.query.condition import Condition, parse_condition
from almenara.query.expression import Expr
from almenara.query.matcher import NAME, Matcher, match_all
from almenara.query.parse import parse, parse_comparison, parse_selector

if TYPE_CHECKING:
    from almenara.query.engine import Limits, evaluate
    from almenara.query.matrix import Matrix, series_text, to_prometheus
    from almenara.query.source import Source

#: Those that need numpy come when they are first asked for.
_LATER = {
    "Limits": "engine",
    "evaluate": "engine",
    "Matrix": "matrix",
    "series_text": "matrix",
    "to_prometheus": "matrix",
    "Source": "source",
}
__all__ = [
    "NAME",
    "Condition",
    "Expr",
    "Limits",
    "Matcher",
    "Matrix",
    "Source",
    "evaluate",
    "match_all",
    "parse",
    "parse_comparison",
    "parse_condition",
    "parse_selector",
    "series_text",
    "to_prometheus",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
