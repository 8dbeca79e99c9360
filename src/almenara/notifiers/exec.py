"""Runs a program for each notice: it gets the notice as JSON on its standard input, and in environment variables."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Annotated

from almenara.model.alarm import Notice
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.notifiers._plain import fields, notice_json, one_line, to_json
from almenara.plugin.options import Range, Secret

#: EX_TEMPFAIL of sysexits.h: try again later.
TEMPORARY = 75
#: What of our own environment a program gets: not those variables that may hold secrets of other notifiers.
_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "TZ", "TMPDIR", "SHELL")
_MOST_TOLD, _MOST_READ = 300, 65_536
_GRACE_S, _LAST_WORDS_S = 2.0, 0.2


class Exec:
    """Runs a program of yours for each notice, never through a shell.

    Standard input: the notice as one JSON object. Environment: `ALMENARA_TITLE`, `ALMENARA_SEVERITY` and so on, a
    variable for each field, and `ALMENARA_GRAPH_PNG`, a file with the graph that is there while the program runs. The
    arguments are as written here: nothing from an alarm gets into them.

    Exit code 0: told. 75: try again later. Any other: given up.

    Options:
        command: The program and its arguments, a list of texts.
        environment: More environment variables.
        workdir: Where the program runs.
        timeout_s: Longest time for one run; then the program and all that it started are ended.
    """

    shows_graph = True
    example = {"command": ["/bin/cat"]}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self,
        *,
        command: list[str],
        environment: dict[str, Secret] | None = None,
        workdir: Path = Path("/"),
        timeout_s: Annotated[float, Range(0.1, 50)] = 30.0,
    ) -> None:
        if not command or not command[0]:
            raise ConfigError([Problem("command", "is empty; expected a program and its arguments")])
        if any("\0" in text for text in command):
            raise ConfigError([Problem("command", "holds a NUL character")])
        wrong = [k for k, text in (environment or {}).items() if not k or "=" in k or "\0" in k + text]
        if wrong:
            raise ConfigError([Problem(f"environment.{k}", "is no name or text of an environment") for k in wrong])
        self._command, self._own = list(command), {k: str(text) for k, text in (environment or {}).items()}
        self._workdir, self._timeout_s = workdir, timeout_s
        self._name = Path(command[0]).name

    async def notify(self, notice: Notice) -> None:
        """Run the program; returns when it has ended well. Raises NotifyError."""
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        given = {f"ALMENARA_{name.upper()}": _clean(str(text)) for name, text in fields(notice).items()}
        with tempfile.TemporaryDirectory(prefix="almenara-") as place:
            said, graph = Path(place, "notice.json"), Path(place, "graph.png")
            said.write_bytes(to_json(notice_json(notice)) + b"\n")
            if notice.graph_png:
                graph.write_bytes(notice.graph_png)
                given["ALMENARA_GRAPH_PNG"] = str(graph)
            with said.open("rb") as text:
                await self._run(text, passed | given | self._own)

    async def _run(self, text: IO[bytes], environment: dict[str, str]) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, run = await loop.subprocess_exec(
                _Run, *self._command, stdin=text, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
                cwd=self._workdir, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise NotifyError(f"{self._name} cannot be started: {error.strerror}", retry=True) from error
        try:
            async with asyncio.timeout(self._timeout_s):
                await run.ended.wait()
            async with asyncio.timeout(_LAST_WORDS_S):
                await run.silent.wait()
        except TimeoutError as error:
            if not run.ended.is_set():
                raise NotifyError(f"{self._name}: ended, since it ran for {self._timeout_s:g} s", retry=True) from error
            # Else what it left running holds its end of the pipe open.
        finally:
            await _end(transport, run)
        if code := transport.get_returncode():
            raise self._failed(code, run.said.decode(errors="replace"))

    def _failed(self, code: int, said: str) -> NotifyError:
        for secret in filter(None, self._own.values()):
            said = said.replace(secret, "***")
        how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
        words = one_line(said, 10 * _MOST_TOLD)[-_MOST_TOLD:]
        return NotifyError(f"{self._name}: {how}{words and ': '}{words}", retry=code == TEMPORARY or code < 0)


def _clean(text: str) -> str:
    return text.replace("\0", " ")


class _Run(asyncio.SubprocessProtocol):
    """A program that runs: the end of what it complains of, and whether it has ended."""

    def __init__(self) -> None:
        self.said = b""
        self.ended, self.silent = asyncio.Event(), asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.said = (self.said + data)[-_MOST_READ:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.silent.set()

    def process_exited(self) -> None:
        self.ended.set()


async def _end(transport: asyncio.SubprocessTransport, run: _Run) -> None:
    """End the program, where it still runs, and all of its process group."""
    if not run.ended.is_set():
        pid = transport.get_pid()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await run.ended.wait()
        with contextlib.suppress(ProcessLookupError):  # also for those it started and that stayed
            os.killpg(pid, signal.SIGKILL)
        await run.ended.wait()
    transport.close()
