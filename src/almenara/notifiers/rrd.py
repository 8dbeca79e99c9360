"""Writes the severity and score of alarms into RRD files, by means of the program `rrdtool`.

Documentation: https://oss.oetiker.ch/rrdtool/doc/rrdtool.en.html, "REMOTE CONTROL": one process takes all commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from almenara.model.alarm import Notice
from almenara.model.errors import NotifyError
from almenara.model.time import NS
from almenara.model.topic import slug
from almenara.notifiers._plain import MOST_ALARMS, incidents_of, number_of, numbers_of, one_line
from almenara.plugin.options import Range

_SOURCES = ("severity", "score", "value")
#: Between two changes of an alarm there may be years.
_HEARTBEAT_S = 10 * 365 * 86_400
_LAST = re.compile(r"(\d+): ([^\s]+) ([^\s]+) ([^\s]+)")
_MOST_TOLD = 200


class RrdNotifier:
    """Keeps an RRD file for each alarm, with its severity, score and value as they were when people were told.

    Severity is 0 resolved, 1 warning, 2 minor, 3 major, 4 critical, and holds from one change to the next. A file that
    is there already must have these three sources, in this order; a new one holds minutes for two weeks, hours for a
    year and days for ten years.

    Options:
        directory: Where the files are, RULE/SERIES.rrd; it is made where it is not there.
        program: The program `rrdtool`, a name or a path.
        timeout_s: Longest time for one notice.
    """

    example = {"directory": "alarms-rrd"}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self, *, directory: Path, program: str = "rrdtool", timeout_s: Annotated[float, Range(1, 50)] = 30.0
    ) -> None:
        self._folder, self._program, self._timeout_s = directory, program, timeout_s

    async def notify(self, notice: Notice) -> None:
        """Write all its alarms; a test writes nothing. Raises NotifyError, worth another try."""
        found = rows_of(notice)
        if not found:
            return
        try:
            await asyncio.to_thread(self._make_folders, list(found))
        except OSError as error:
            raise NotifyError(f"rrd {self._folder}: {error.strerror or error}", retry=True) from error
        fresh = [name for name in found if not Path(self._folder, name).exists()]
        await self._run([_create(name, found[name]) for name in fresh])
        last = await self._run([f"lastupdate {name}" for name in found])
        updates = [_update(name, said, found[name]) for name, said in zip(found, last, strict=True)]
        await self._run([line for line in updates if line])

    async def check(self) -> None:
        """Is the program there? Raises NotifyError."""
        if shutil.which(self._program) is None:
            raise NotifyError(f"rrd: there is no program {self._program}", retry=True)

    def _make_folders(self, names: Sequence[str]) -> None:
        for name in names:
            Path(self._folder, name).parent.mkdir(parents=True, exist_ok=True)

    async def _run(self, commands: Sequence[str]) -> list[str]:
        """What rrdtool answers to each command. Raises NotifyError for the first that it refuses."""
        if not commands:
            return []
        try:
            process = await asyncio.create_subprocess_exec(
                self._program, "-", cwd=self._folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise NotifyError(f"rrd: {self._program} cannot be started: {error.strerror}", retry=True) from error
        try:
            async with asyncio.timeout(self._timeout_s):
                out, _ = await process.communicate("".join(f"{line}\n" for line in commands).encode())
        except TimeoutError as error:
            raise NotifyError(f"rrd: {self._program} took longer than {self._timeout_s:g} s", retry=True) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return _answers(out.decode(errors="replace"), commands)


def _answers(said: str, commands: Sequence[str]) -> list[str]:
    """The lines before each `OK`. Raises NotifyError."""
    answers: list[str] = []
    lines: list[str] = []
    for line in said.splitlines():
        if line.startswith("ERROR:"):
            at = commands[len(answers)].partition(" ")[0] if len(answers) < len(commands) else ""
            raise NotifyError(f"rrd: {at}: {one_line(line.removeprefix('ERROR: '), _MOST_TOLD)}", retry=True)
        if line.startswith("OK "):
            answers.append("\n".join(lines))
            lines = []
        else:
            lines.append(line)
    if len(answers) != len(commands):
        raise NotifyError(f"rrd: answered {len(answers)} of {len(commands)} commands", retry=True)
    return answers


#: Time in s, and severity, score and value as rrdtool writes them.
Row = tuple[int, str]


def rows_of(notice: Notice) -> dict[str, Row]:
    """File -> what to write, of all alarms in a notice."""
    found = {}
    for incident in incidents_of(notice):
        for member in incident.members[:MOST_ALARMS]:
            last = member.last
            numbers = numbers_of(last.evidence)
            measured = ["U" if (n := numbers[name]) is None else f"{n:.10g}" for name in ("score", "value")]
            name = f"{slug(last.rule)}/{slug(str(last.series), last.series.key)}.rrd"
            over = incident.resolved if number_of(member, incident) == 0 else 0
            found[name] = (max(last.time, over) // NS, ":".join([str(number_of(member, incident)), *measured]))
    return found


def _create(name: str, row: Row) -> str:
    sources = " ".join(f"DS:{source}:GAUGE:{_HEARTBEAT_S}:U:U" for source in _SOURCES)
    archives = " ".join(f"RRA:{how}:0.5:{spec}" for spec in ("1m:14d", "1h:365d", "1d:10y") for how in ("MAX", "LAST"))
    return f"create {name} --start {row[0] - 120} --step 60 {sources} {archives}"


def _update(name: str, said: str, row: Row) -> str:
    """What changed, and just before it what was until then: RRD fills the time since the last row with the new one.
    Empty where the file has something newer: it takes no older rows."""
    time_s, now = row
    match = _LAST.search(said)
    last_s, before = (int(match[1]), ":".join(match[n] for n in (2, 3, 4))) if match else (0, "0:U:U")
    if time_s <= last_s:
        return ""
    if before.startswith("U"):
        before = "0:U:U"
    held = f" {time_s - 1}:{before}" if time_s - 1 > last_s else ""
    return f"update {name}{held} {time_s}:{now}"
