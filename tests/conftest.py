"""What all tests share: the marker for tests of real parts, and a free port.

`@pytest.mark.real("mosquitto", "mosquitto-clients")` marks a test that needs these Debian packages (or programs of
these names). Where one is missing the test is left out and named at the end; with ALMENARA_TESTS_COMPLETE=1 it fails.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
from collections.abc import Callable

import pytest

PROGRAM_FOLDERS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
left_out = pytest.StashKey[dict[str, list[str]]]()


@functools.cache
def is_installed(name: str) -> bool:
    """Is a Debian package of this name installed, or a program of this name on the path?"""
    if shutil.which(name, path=PROGRAM_FOLDERS):
        return True
    if not shutil.which("dpkg-query"):
        return False
    asked = subprocess.run(["dpkg-query", "-W", "-f=${Status}", name], capture_output=True, text=True, check=False)
    return "install ok installed" in asked.stdout


def missing_of(item: pytest.Item) -> list[str]:
    """Packages that a test needs and that are not there."""
    return [n for mark in item.iter_markers("real") for n in mark.args if not is_installed(n)]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[left_out] = {}


def pytest_runtest_setup(item: pytest.Item) -> None:
    if missing := missing_of(item):
        item.config.stash[left_out].setdefault(" ".join(missing), []).append(item.nodeid)
        if os.environ.get("ALMENARA_TESTS_COMPLETE") == "1":
            pytest.fail(f"needs {' '.join(missing)}, and no test may be left out here", pytrace=False)
        pytest.skip(f"needs {' '.join(missing)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for packages, tests in config.stash[left_out].items():
        terminalreporter.section(f"left out for want of: {packages}")
        terminalreporter.write_line("\n".join(tests))


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port of 127.0.0.1 that nobody has now."""

    def give() -> int:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return server.getsockname()[1]

    return give
