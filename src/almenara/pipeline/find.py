"""Which series somebody means who types a few words: `flow P-101`, `temp brewery 3`, `flow{pump="P-101"}`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from almenara.alarm.rules import NOT_OURS
from almenara.model.errors import QueryError
from almenara.pipeline.index import NAME, SeriesIndex
from almenara.query import Matcher, parse_selector

#: So many are named where several are meant.
MOST = 8
#: Letters of what is typed, and words of it.
MOST_LETTERS, MOST_WORDS = 500, 12
#: Names and values that a mistyped word is compared with, and how alike they must be.
_MOST_COMPARED, _ALIKE = 50_000, 0.7


@dataclass(frozen=True, slots=True)
class Found:
    """The series that may be meant, the likeliest first, at most MOST of `of`. guessed: no word was right as it was
    typed, and these are like it."""

    ids: Sequence[int] = ()
    of: int = 0
    guessed: bool = False

    @property
    def one(self) -> int | None:
        """The one that is meant, where there is no doubt."""
        return self.ids[0] if self.of == 1 and not self.guessed else None


def find(index: SeriesIndex, text: str) -> Found:
    """The series meant by a selector, or by words that its name or labels have. The hub's own come last."""
    text = text.strip()[:MOST_LETTERS]
    if "{" in text:
        try:
            return _ranked(index, index.select(parse_selector(text)), np.zeros(0, np.uint8))
        except QueryError:
            pass  # typed by a person: its words may do
    words = _words(text)
    if not words:
        return Found()
    exact = index.select([Matcher(NAME, "=", words[0] if len(words) == 1 else "")])
    if len(exact) == 1:
        return Found((int(exact[0]),), 1)
    if (found := _with_all(index, words)).of:
        return found
    if (closer := _corrected(index, words)) is not None:
        found = _with_all(index, closer)
        return Found(found.ids, found.of, guessed=True)
    return Found()


def _words(text: str) -> list[str]:
    """Words of `flow P-101`, `flow{pump="P-101"}` or `flow (pump=P-101)`; the names of labels are left out."""
    text = re.sub(r"[\w.]+\s*(=~|!=|!~|=)\s*", " ", text)
    return [word for word in re.split(r"[\s,(){}\"']+", text) if word][:MOST_WORDS]


def _with_all(index: SeriesIndex, words: Sequence[str]) -> Found:
    """Series that have every word; those alone that have all of them whole, where there are any."""
    grades = [index.mentions(word) for word in words]
    known = min(len(one) for one in grades)  # series may have come meanwhile
    least = np.min([one[:known] for one in grades], axis=0)
    total = np.sum([one[:known] for one in grades], axis=0)
    best = 2 if (least == 2).any() else 1
    ids = np.flatnonzero(least >= best)
    ours = np.isin(ids, index.select([NOT_OURS]), assume_unique=True)
    return _ranked(index, ids[ours] if ours.any() else ids, total)


def _ranked(index: SeriesIndex, ids: np.ndarray, total: np.ndarray) -> Found:
    """The likeliest first: more words whole, then shorter names. Of very many the first by number are looked at."""
    some = ids[: 50 * MOST].tolist()
    order = sorted(some, key=lambda id: (-int(total[id]) if len(total) else 0, len(index.keys[id]), id))
    return Found(tuple(order[:MOST]), len(ids))


def _corrected(index: SeriesIndex, words: Sequence[str]) -> list[str] | None:
    """The words with those that nothing has replaced by the most similar name or value; None where one has none."""
    known = {text.casefold() for label in index.label_names()[:200] for text in index.label_values(label)}
    texts = sorted(known)[:_MOST_COMPARED]
    found = []
    for word in words:
        if index.mentions(word).any():
            found.append(word)
            continue
        near = get_close_matches(word.casefold(), texts, 1, _ALIKE)
        if not near:
            return None
        found += near
    return found
