"""A real browser for tests of the pages: headless Chromium driven by chromedriver over the W3C WebDriver protocol.

Both come from Debian (`apt install chromium chromium-driver`); the protocol (https://www.w3.org/TR/webdriver2/) is
plain JSON over HTTP, so no client library is needed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key under which WebDriver hands out elements
_ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-default-apps --disable-extensions --disable-dev-shm-usage "
    "--hide-scrollbars --force-color-profile=srgb"
)


class BrowserError(Exception):
    """The browser did not do what was asked: what was asked, and what it answered."""


def available() -> bool:
    """Whether Chromium and its driver are installed."""
    return shutil.which("chromedriver") is not None and shutil.which("chromium") is not None


class Browser:
    """One headless window. Use it as a context manager: `with Browser(1280, 800) as page: page.open(url)`.

    width, height: the page's size in CSS pixels; below 500 wide it is a phone with touch.
    dark: what the system prefers.
    """

    def __init__(self, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        self._profile = tempfile.mkdtemp(prefix="almenara-browser-")
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._http = httpx.Client(timeout=60, trust_env=False)
        try:
            self._http.base_url = f"http://127.0.0.1:{self._port()}"
            self._session = self._start()
            self.resize(width, height, dark=dark)
        except BaseException:
            self.close()
            raise

    def _port(self) -> int:
        """The port chromedriver chose, from what it prints at start."""
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            found = re.search(r"successfully on port (\d+)", line)
            if found:
                return int(found[1])
        raise BrowserError("chromedriver ended before it listened")

    def _start(self) -> str:
        options = {"args": [*_ARGUMENTS.split(), f"--user-data-dir={self._profile}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "unhandledPromptBehavior": "ignore",
        }
        answer = self._http.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
        if "sessionId" not in answer:
            raise BrowserError(f"no browser session: {answer}")
        return str(answer["sessionId"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body)
        answer = self._http.request(method, f"/session/{self._session}{path}", content=content)
        value = answer.json()["value"]
        if answer.status_code >= 400:
            raise BrowserError(f"{method} {path} {content or ''}: {value['error']}: {value['message'].splitlines()[0]}")
        return value

    def cdp(self, command: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the page this size in CSS pixels and this colour preference. Motion is reduced: pictures are still."""
        phone = width < 500
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=phone)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.cdp("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Go to `url` and wait until it has loaded."""
        self._call("POST", "/url", {"url": url})

    def back(self) -> None:
        """The back button."""
        self._call("POST", "/back", {})

    @property
    def url(self) -> str:
        return str(self._call("GET", "/url"))

    def find(self, css: str, within_s: float = 10) -> str:
        """The first element that matches, as soon as there is one."""
        return self.wait_until(lambda: next(iter(self.find_all(css)), None), f"an element {css}", within_s)

    def find_all(self, css: str) -> list[str]:
        found = self._call("POST", "/elements", {"using": "css selector", "value": css})
        return [one[_ELEMENT] for one in found]

    def click(self, css: str) -> None:
        """Click the first element that matches, once it can be clicked."""

        def clicked() -> bool:
            try:
                self._call("POST", f"/element/{self.find(css)}/click", {})
            except BrowserError as error:
                if re.search("stale element|not interactable|click intercepted", str(error)):
                    return False
                raise
            return True

        self.wait_until(clicked, f"{css} to take a click")

    def type_text(self, css: str, text: str) -> None:
        """Type into the first element that matches."""
        self._call("POST", f"/element/{self.find(css)}/value", {"text": text})

    def text(self, css: str) -> str:
        """The visible text of the first element that matches, empty where there is none now."""
        seen = "const one = document.querySelector(arguments[0]); return one?.checkVisibility() ? one.innerText : ''"
        return str(self.execute(seen, css))

    def execute(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and give what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def drag(self, css: str, start: float, end: float) -> None:
        """Drag horizontally over an element, from one fraction of its width to another, at half its height."""
        box = self.execute(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [b.left, b.top + b.height / 2, b.width]",
            css,
        )
        xs = [round(box[0] + box[2] * (start + (end - start) * i / 5)) for i in range(6)]
        moves = [{"type": "pointerMove", "duration": 30, "x": x, "y": round(box[1])} for x in xs]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions}
        self._call("POST", "/actions", {"actions": [pointer]})

    def hover(self, css: str, x: float = 0.5, y: float = 0.5) -> None:
        """Move the pointer over an element, at these fractions of its width and height."""
        box = self.execute(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height]",
            css,
        )
        move = {"type": "pointerMove", "duration": 0, "x": round(box[0] + box[2] * x), "y": round(box[1] + box[3] * y)}
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [move]}
        self._call("POST", "/actions", {"actions": [pointer]})

    def console(self) -> list[str]:
        """Errors and warnings of the browser's console since the last call."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """The addresses the page has asked a server for since the last call."""
        entries = [json.loads(e["message"])["message"] for e in self._call("POST", "/se/log", {"type": "performance"})]
        urls = [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if url.startswith(("http", "ws"))]

    def screenshot(self, path: str | Path, *, whole: bool = False) -> None:
        """Save a PNG of the window, or of the whole page."""
        more: dict[str, Any] = {}
        if whole:
            size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
            more = {
                "captureBeyondViewport": True,
                "clip": {"x": 0, "y": 0, "scale": 1, "width": size["width"], "height": size["height"]},
            }
        Path(path).write_bytes(base64.b64decode(self.cdp("Page.captureScreenshot", format="png", **more)["data"]))

    def wait_until(self, condition: Callable[[], Any], what: str = "a condition", within_s: float = 10) -> Any:
        """What `condition` gives as soon as it is true. Raises BrowserError after `within_s`."""
        deadline = time.monotonic() + within_s
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                seen = " ".join(str(self.execute("return document.body.innerText")).split())
                raise BrowserError(f"waited {within_s} s for {what}; the page says: {seen[:2000]}")
            time.sleep(0.03)

    def close(self) -> None:
        """End the browser and remove its profile."""
        if hasattr(self, "_session"):
            with contextlib.suppress(httpx.HTTPError):  # it may be gone already, which is what we want
                self._http.delete(f"/session/{self._session}")
        self._http.close()
        self._driver.terminate()
        self._driver.wait(10)
        if self._driver.stdout is not None:
            self._driver.stdout.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
