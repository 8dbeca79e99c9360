"""What all tests share: the markers for tests of real parts and of what is compiled, and a free port.

`@pytest.mark.real("mosquitto", "mosquitto-clients")` marks a test that needs these Debian packages (or programs of
these names, or packages of tests/node or tests/peers). Where one is missing the test is left out and named at the end;
with ALMENARA_TESTS_COMPLETE=1 it fails.
`@pytest.mark.compiled` marks one that runs all that hubs compile: it is compiled before the first test.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from almenara.testing import process

# No rule here is about time: a machine with other work takes longer than 0.2 s for one example now and then.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

PEERS = sorted(map(str, Path(__file__).parent.glob("peers/*/bin")))
PROGRAM_FOLDERS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *PEERS])
NODE_PACKAGES = Path(__file__).parent / "node" / "node_modules"
#: Begins the reason why a test is left out.
NEEDS = "needs the packages "
own_folder = pytest.StashKey[str]()


@functools.cache
def is_installed(name: str) -> bool:
    """Is a Debian package of this name installed, a program of this name on the path, or a package of tests/node or
    tests/peers?"""
    if shutil.which(name, path=PROGRAM_FOLDERS) or (NODE_PACKAGES / name).is_dir():
        return True
    if not shutil.which("dpkg-query"):
        return False
    asked = subprocess.run(["dpkg-query", "-W", "-f=${Status}", name], capture_output=True, text=True, check=False)
    return "install ok installed" in asked.stdout


def missing_of(item: pytest.Item) -> list[str]:
    """Packages that a test needs and that are not there."""
    return [n for mark in item.iter_markers("real") for n in mark.args if not is_installed(n)]


#: Where tests work if there is so much room: memory, for what they sync to disk is thrown away.
MEMORY, MEMORY_FREE = Path("/dev/shm"), 8 << 30


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if not is_worker and getattr(config.option, "numprocesses", 0):
        compile_ahead()
    if not is_worker and not config.option.basetemp and has_room():
        config.option.basetemp = config.stash[own_folder] = tempfile.mkdtemp(prefix="almenara-tests-", dir=MEMORY)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    alone = not hasattr(config, "workerinput") and not getattr(config.option, "numprocesses", 0)
    if alone and not config.option.collectonly and any(one.get_closest_marker("compiled") for one in session.items):
        compile_ahead()


def compile_ahead() -> None:
    """Compile what hubs compile outside the time that a test may take: with other work beside it that is minutes."""
    print("compiling, which takes a minute in a new checkout ...", flush=True)
    # -P, since folders of tests are called like modules. Where it fails the tests say so.
    subprocess.run([sys.executable, "-P", str(Path(__file__).with_name("compiled.py"))], check=False)


def has_room() -> bool:
    """Is there a file system in memory with room for the tests?"""
    return os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_FREE


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(own_folder, ""):
        shutil.rmtree(folder, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if missing := missing_of(item):
        if os.environ.get("ALMENARA_TESTS_COMPLETE") == "1":
            pytest.fail(f"{NEEDS}{' '.join(missing)}, and no test may be left out here", pytrace=False)
        pytest.skip(f"{NEEDS}{' '.join(missing)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        _, needs, packages = str(report.longrepr[2]).partition(NEEDS)
        if needs:
            left_out.setdefault(packages, []).append(report.nodeid)
    for packages, tests in left_out.items():
        terminalreporter.section(f"left out for want of: {packages}")
        terminalreporter.write_line("\n".join(tests))


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port of 127.0.0.1 that nobody has now, nor is given by the system."""
    return process.free_port
