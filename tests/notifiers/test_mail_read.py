"""Rules of mails as people see them: read in a mailbox of others (maildev), in a real browser, wide and on a phone."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from alarm.test_message import CASES
from almenara.notifiers.mail import Mail
from almenara.plot.panel import Panel
from almenara.plot.png import figure_png
from almenara.testing.browser import Browser
from almenara.testing.process import free_port

pytestmark = pytest.mark.real("node", "maildev", "chromium", "chromium-driver", "fonts-dejavu-core")
MAILDEV = Path(__file__).parents[1] / "node" / "node_modules" / ".bin" / "maildev"
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def mailbox() -> Iterator[tuple[int, str]]:
    """A mail server that keeps what comes; gives its port and the address of its pages."""
    smtp, web = free_port(), free_port()
    address = f"http://127.0.0.1:{web}"
    command = [str(MAILDEV), "--ip", "127.0.0.1", "--smtp", str(smtp), "--web-ip", "127.0.0.1", "--web", str(web)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: httpx.get(f"{address}/api/email").is_success)
            yield smtp, address
        finally:
            server.terminate()


def wait_for(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            if found := holds():
                return found
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def graph() -> bytes:
    minute = np.arange(0, 3600, 60) * 10**9
    return figure_png([Panel("temperature", minute, np.sin(minute / 9e11), unit="°C")], width=900, height=400, dpi=200)


@pytest.fixture(scope="module")
def page(mailbox: tuple[int, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HTML of an update with its graph, as the mailbox gives it out: with the graph's bytes in the cid's place."""
    port, address = mailbox
    notice = replace(CASES["update"](), graph_png=graph())
    mail = Mail(host="127.0.0.1", port=port, security="none", from_="Hub <hub@example.com>", to=["ann@example.com"])
    asyncio.run(mail.notify(notice))
    (kept,) = wait_for(lambda: httpx.get(f"{address}/api/email").json())
    assert kept["subject"] == f"Re: {notice.subject}"
    html = httpx.get(f"{address}/api/email/{kept['id']}/html").text
    assert "cid:" not in html, "the graph was not found in the mail"
    file = tmp_path_factory.mktemp("mail") / "mail.html"
    # The mailbox takes the word of the page's width away.
    file.write_text(f'<!doctype html><meta name="viewport" content="width=device-width,initial-scale=1">{html}')
    return file


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_mail_fits_its_window_and_can_be_read(page: Path, width: int, dark: bool) -> None:
    with Browser(width, 844, dark=dark) as browser:
        browser.open(page.as_uri())
        browser.wait_until(lambda: browser.execute("return document.images[0].naturalWidth") == 900, "the graph")
        assert browser.execute("return document.documentElement.scrollWidth") <= width
        assert browser.execute("return document.images[0].clientWidth") >= min(width, 560) * 0.9
        background, ink = browser.execute(
            "const of = (css, what) => getComputedStyle(document.querySelector(css))[what];"
            "return [of('.card', 'backgroundColor'), of('.text', 'color')]"
        )
        assert (brightness(background) > 128, brightness(ink) > 128) == (not dark, dark)
        assert "1 alarm ended" in browser.text("body")
        assert [one for one in browser.requests() if not one.startswith(("file:", "data:"))] == []


def brightness(colour: str) -> float:
    """Of "rgb(r, g, b)"."""
    return sum(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3])) / 3
