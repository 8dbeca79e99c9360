"""Regular expressions in time linear in the text, as in RE2: what a stranger sends cannot hang the hub.

Python's `re` backtracks: `(a+)+b` takes 2^n steps. Patterns whose shape cannot blow up go to `re`; all others are
run here as a set of states (Thompson, "Regular expression search algorithm", CACM 1968; see Cox,
https://swtch.com/~rsc/regexp/regexp1.html). Look-around, back-references, atomic groups and possessive repeats have
no such form, and RE2 (so Prometheus) has none of them either. `\\d \\w \\s \\b` mean ASCII, `.` matches
every character.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

# The parser of `re`, the same in all Pythons from 3.11; `re` offers no public way to see a pattern's tree.
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as sre  # type: ignore[attr-defined]
from typing import Any

from almenara.model.errors import NotSupported, QuerySyntax

MAX_PATTERN = 10_000  # characters; dashboards send long lists of names joined by |
MAX_STATES = 3000  # after a{2,5} is written out; a step of one character looks at so many at most
MAX_MEMO = 50_000  # remembered steps of one pattern; forgotten all at once past it

_FLAGS = re.ASCII | re.DOTALL
_REPEATS = (c.MAX_REPEAT, c.MIN_REPEAT)
_SINGLE = (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN)
_ASCII = {
    c.CATEGORY_DIGIT: str.isdigit,
    c.CATEGORY_SPACE: lambda ch: ch in " \t\n\r\f\v",
    c.CATEGORY_WORD: lambda ch: ch.isalnum() or ch == "_",
}
_NEGATED = {
    c.CATEGORY_NOT_DIGIT: c.CATEGORY_DIGIT,
    c.CATEGORY_NOT_SPACE: c.CATEGORY_SPACE,
    c.CATEGORY_NOT_WORD: c.CATEGORY_WORD,
}


@lru_cache(maxsize=1024)
def compile_full_match(pattern: str) -> Callable[[str], bool]:
    """A test whether a whole text matches. Raises QuerySyntax for a bad pattern, NotSupported as the module says."""
    if len(pattern) > MAX_PATTERN:
        raise QuerySyntax(f"regular expression of {len(pattern)} characters; expected at most {MAX_PATTERN}")
    if "[[:" in pattern:
        raise NotSupported(f"regular expression {pattern!r}: classes such as [[:alpha:]] are not supported yet")
    try:
        tree = sre.parse(pattern, _FLAGS)
    except (re.error, RecursionError, OverflowError) as error:
        raise QuerySyntax(f"regular expression {pattern[:80]!r}: {error}") from error
    if _is_harmless(list(tree)):
        full = re.compile(pattern, _FLAGS).fullmatch
        return lambda text: full(text) is not None
    try:
        return _Machine(pattern, tree).matches
    except RecursionError as error:
        raise QuerySyntax(f"regular expression {pattern[:80]!r} nests too deep") from error


def _is_harmless(items: list[Any]) -> bool:
    """Whether `re` needs at most about len(text) steps: one repeat of single characters, besides a closing `.*`."""
    if len(items) == 1 and items[0][0] is c.BRANCH:
        return all(op is c.LITERAL for branch in items[0][1][1] for op, _ in branch)
    if items and items[-1][0] in _REPEATS and items[-1][1][1] is c.MAXREPEAT and items[-1][1][2][0][0] is c.ANY:
        items = items[:-1]
    repeats = [av for op, av in items if op in _REPEATS]
    if any(op not in _SINGLE and op not in _REPEATS for op, _ in items) or len(repeats) > 1:
        return False
    return all(len(body) == 1 and body[0][0] in _SINGLE for _, _, body in repeats)


class _Machine:
    """A pattern as numbered states; runs all of them side by side, and remembers each step it took."""

    def __init__(self, pattern: str, tree: Any):
        self.pattern = pattern
        self.edges: list[list[int]] = []  # states reached without reading
        self.reads: list[tuple[Callable[[str], bool], int] | None] = []
        self.bounds: list[tuple[Any, int] | None] = []  # ^ $ \b: passed only at such a place
        self.accept = self._state()
        self.start = self._chain(tree, self.accept, tree.state.flags)
        self._memo: dict[tuple[frozenset[int], str, str], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        states, before = frozenset((self.start,)), ""
        for ch in text:
            key = (states, before, ch)
            found = self._memo.get(key)
            if found is None:
                if len(self._memo) >= MAX_MEMO:
                    self._memo.clear()
                found = self._memo[key] = self._step(states, before, ch)
            states, before = found, ch
            if not states:
                return False
        return self.accept in self._closure(states, before, "")

    def _step(self, states: frozenset[int], before: str, ch: str) -> frozenset[int]:
        reads = (self.reads[s] for s in self._closure(states, before, ch))
        return frozenset(read[1] for read in reads if read is not None and read[0](ch))

    def _closure(self, states: frozenset[int], before: str, after: str) -> set[int]:
        seen, todo = set(states), list(states)
        while todo:
            state = todo.pop()
            bound = self.bounds[state]
            nexts = self.edges[state]
            if bound is not None and _holds(bound[0], before, after):
                nexts = [*nexts, bound[1]]
            fresh = [n for n in nexts if n not in seen]
            seen.update(fresh)
            todo += fresh
        return seen

    def _state(self, *edges: int) -> int:
        if len(self.edges) >= MAX_STATES:
            raise QuerySyntax(
                f"regular expression {self.pattern[:80]!r} has more than {MAX_STATES} states; write it simpler"
            )
        self.edges.append(list(edges))
        self.reads.append(None)
        self.bounds.append(None)
        return len(self.edges) - 1

    def _chain(self, items: Any, then: int, flags: int) -> int:
        """The first state of items that lead to `then`; built from the end."""
        for op, av in reversed(list(items)):
            then = self._item(op, av, then, flags)
        return then

    def _item(self, op: Any, av: Any, then: int, flags: int) -> int:
        if op in _SINGLE:
            state = self._state()
            self.reads[state] = (_single(op, av, flags), then)
            return state
        if op is c.BRANCH:
            return self._state(*[self._chain(branch, then, flags) for branch in av[1]])
        if op is c.SUBPATTERN:
            _, add, remove, body = av
            return self._chain(body, then, (flags | add) & ~remove)
        if op in _REPEATS:
            return self._repeat(av, then, flags)
        if op is c.AT:
            state = self._state()
            self.bounds[state] = (_multiline(av, flags), then)
            return state
        raise NotSupported(
            f"regular expression {self.pattern!r}: look-around, back-references, atomic groups and possessive repeats "
            "are not supported, as in RE2"
        )

    def _repeat(self, av: Any, then: int, flags: int) -> int:
        least, most, body = av
        if most is c.MAXREPEAT:
            loop = self._state(then)
            self.edges[loop].append(self._chain(body, loop, flags))
            then = loop
        else:
            end = then
            for _ in range(most - least):
                then = self._state(end, self._chain(body, then, flags))
        for _ in range(least):
            then = self._chain(body, then, flags)
        return then


def _multiline(at: Any, flags: int) -> Any:
    if flags & re.MULTILINE:
        return {c.AT_BEGINNING: c.AT_BEGINNING_LINE, c.AT_END: c.AT_END_LINE}.get(at, at)
    return at


def _holds(at: Any, before: str, after: str) -> bool:
    """Whether a place between two characters ("" = the end of the text) is of this kind."""
    if at in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
        return not before
    if at in (c.AT_END, c.AT_END_STRING):  # as in RE2, `$` does not match before a last line break
        return not after
    if at is c.AT_BEGINNING_LINE:
        return before in ("", "\n")
    if at is c.AT_END_LINE:
        return after in ("", "\n")
    boundary = _is_word(before) != _is_word(after)
    return boundary == (at is c.AT_BOUNDARY)


def _is_word(ch: str) -> bool:
    return ch != "" and ch.isascii() and (ch.isalnum() or ch == "_")


def _single(op: Any, av: Any, flags: int) -> Callable[[str], bool]:
    """A test of one character."""
    test = _plain(op, av, flags)
    if flags & re.IGNORECASE and op is not c.ANY:
        if op is c.NOT_LITERAL or (op is c.IN and av[0][0] is c.NEGATE):
            return lambda ch: test(ch) and test(ch.lower()) and test(ch.upper())
        return lambda ch: test(ch) or test(ch.lower()) or test(ch.upper())
    return test


def _plain(op: Any, av: Any, flags: int) -> Callable[[str], bool]:
    if op is c.LITERAL:
        return chr(av).__eq__
    if op is c.NOT_LITERAL:
        return chr(av).__ne__
    if op is c.ANY:
        return (lambda ch: True) if flags & re.DOTALL else (lambda ch: ch != "\n")
    if av[0][0] is c.NEGATE:
        inside = [_member(*item) for item in av[1:]]
        return lambda ch: not any(test(ch) for test in inside)
    inside = [_member(*item) for item in av]
    return lambda ch: any(test(ch) for test in inside)


def _member(op: Any, av: Any) -> Callable[[str], bool]:
    """One item of a class such as [a-z_\\d]."""
    if op is c.LITERAL:
        return chr(av).__eq__
    if op is c.RANGE:
        low, high = av
        return lambda ch: len(ch) == 1 and low <= ord(ch) <= high
    if av in _NEGATED:
        test = _ASCII[_NEGATED[av]]
        return lambda ch: not (ch.isascii() and test(ch))
    test = _ASCII[av]
    return lambda ch: ch.isascii() and test(ch)
