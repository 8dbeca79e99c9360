"""Rows that judging made, on their way through the commit like all others, and whoever waits until that is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from almenara.model.batch import Batch
from almenara.model.errors import Refused
from almenara.pipeline.admission import Turned
from almenara.pipeline.commit import Committer, Submission


class Made:
    """Rows that judging made. No snapshot counts the segment they are of as seen before they are committed."""

    def __init__(self, batch: Batch, committer: Committer):
        self._batch, self._committer = batch, committer
        self._sent = False
        self.refused = False  # for want of disk; sent again once a second
        self._kept_at: int | None = None  # number of the commit that has them

    def send(self) -> None:
        """Submit them unless that is done; where they are refused the next call tries again."""
        if self._sent:
            return
        self._sent = True
        try:
            self._committer.submit(Submission(self._batch, done=self._answer, own=True))
        except Refused:
            self._sent, self.refused = False, True

    def _answer(self, rows: int, turned: Sequence[Turned], error: Exception | None) -> None:
        if error is not None:
            self._sent, self.refused = False, True
        else:
            self._kept_at, self.refused = self._committer.committed, False
        self._committer.wake()

    @property
    def is_kept(self) -> bool:
        """Whether they are committed."""
        return self._kept_at is not None

    def flushed(self, flushed: int) -> bool:
        """Whether they are stored, `flushed` commits being so."""
        return self._kept_at is not None and flushed >= self._kept_at


class Waiter:
    """Somebody who waits until so many commits are flushed, and what judging made of them too."""

    def __init__(self, target: int):
        self.answer: Future[None] = Future()
        self._target = target
        self._made: list[Made] | None = None  # known once the target is reached; what is made later is not waited for

    def is_served(self, flushed: int, made: Iterable[Made]) -> bool:
        """Whether the wait is over, `flushed` commits being through and `made` being on its way. What is refused now
        is not waited for: a full disk must not keep anybody from reading."""
        if flushed < self._target:
            return False
        if self._made is None:
            self._made = list(made)
        return all(one.refused or one.flushed(flushed) for one in self._made)


def tell(future: Future[None], error: BaseException | None = None) -> None:
    """Answer a future that whoever waits may have cancelled, as a caller does who has gone."""
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(None)
