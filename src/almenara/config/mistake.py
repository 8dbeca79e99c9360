"""`Mistake`: what is wrong with a configuration, and where in its file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from almenara.model.errors import Problem


@dataclass(frozen=True, slots=True)
class Mistake(Problem):
    """A problem with its place in a file. line: 0 where it is in no file. key: the dotted path."""

    file: str = ""
    line: int = 0
    key: str = ""

    @property
    def expected(self) -> str:
        """What should stand there, where the message says it."""
        match = re.match(r"must be (.*); got |is missing; expected (.*)", self.message, re.DOTALL)
        return (match[1] or match[2]) if match else ""

    @property
    def found(self) -> str:
        """What stands there, where the message says it."""
        return self.message.rpartition("; got ")[2] if "; got " in self.message else ""
