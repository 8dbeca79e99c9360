"""In which line of a TOML text each key stands; the standard library's parser tells values, but not lines.

The text must already have been read by `tomllib`, so this scanner need not check anything.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right

from almenara.plugin.values import toml_key

Path = tuple[str | int, ...]


def locate(text: str) -> dict[str, int]:
    """Line (from 1) of every key, table and list member, by its dotted path as `join` writes it."""
    return {join(path): line for path, line in _Scanner(text).scan().items()}


def line_of(lines: dict[str, int], where: str) -> int:
    """The line of a dotted path, else of the nearest thing around it; 0 where nothing of it is in the text."""
    found = [k for k in lines if where == k or (where.startswith(k) and where[len(k)] in ".[")]
    return lines[max(found, key=len)] if found else 0


def join(path: Path) -> str:
    """`("topics", "a/#", "rename", 0)` -> `topics."a/#".rename[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{toml_key(part)}" if text else toml_key(part)
    return text


class _Scanner:
    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.starts = [0] + [i + 1 for i, c in enumerate(text) if c == "\n"]
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}  # array of tables -> how many so far

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self.skip() < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
        return self.lines

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, bisect_right(self.starts, self.at))

    def skip(self) -> int:
        """Go on to the next thing that is no space, line end or comment."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text[self.at] in " \t\r\n":
                self.at += 1
            else:
                break
        return self.at

    def header(self) -> Path:
        """`[a.b]` or `[[a.b]]`; the path of the table that begins here."""
        double = self.text.startswith("[[", self.at)
        line = self.at
        self.at += 2 if double else 1
        path: Path = ()
        keys = self.key()
        self.at = self.text.index("]", self.skip()) + (2 if double else 1)
        end, self.at = self.at, line
        for i, key in enumerate(keys):
            path = (*path, key)
            self.note(path)
            if double and i == len(keys) - 1:
                self.counts[path] = self.counts.get(path, 0) + 1
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
                self.note(path)
        self.at = end
        return path

    def key(self) -> list[str]:
        """A dotted key; stops after it."""
        parts = []
        while True:
            self.skip()
            begin = self.at
            if self.text[begin] in "\"'":
                self.string()
                parts.append(tomllib.loads("k = " + self.text[begin : self.at])["k"])
            else:
                while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "-_"):
                    self.at += 1
                parts.append(self.text[begin : self.at])
            self.skip()
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def pair(self, table: Path) -> None:
        """`key = value` inside a table."""
        self.skip()
        begin = self.at
        path = table
        keys = self.key()
        end, self.at = self.at, begin
        for key in keys:
            path = (*path, key)
            self.note(path)
        self.at = end + 1  # past the `=`
        self.value(path)

    def value(self, path: Path) -> None:
        self.skip()
        first = self.text[self.at]
        if first in "\"'":
            self.string()
        elif first == "[":
            self.members(path, "]")
        elif first == "{":
            self.members(path, "}")
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\r\n":
                self.at += 1

    def members(self, path: Path, close: str) -> None:
        """A list or an inline table, to its closing bracket."""
        self.at += 1
        i = 0
        while self.text[self.skip()] != close:
            if self.text[self.at] == ",":
                self.at += 1
            elif close == "]":
                self.note((*path, i))
                self.value((*path, i))
                i += 1
            else:
                self.pair(path)
        self.at += 1

    def string(self) -> None:
        """Past a string of any of the four sorts."""
        quote = self.text[self.at]
        triple = self.text.startswith(quote * 3, self.at)
        close = quote * 3 if triple else quote
        self.at += len(close)
        while not self.text.startswith(close, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(close)
        while (
            triple and self.at < len(self.text) and self.text[self.at] == quote
        ):  # quotes right before the closing ones
            self.at += 1
