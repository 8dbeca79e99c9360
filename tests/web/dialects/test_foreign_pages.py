"""In a real browser: a page of another site that tries to send through the browser of somebody on the hub's machine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.web.dialects.switched import switched

from almenara.testing.browser import Browser

pytestmark = pytest.mark.real("chromium", "chromium-driver")

#: Everything that a page can do without being asked; none of it says where it comes from, if it can help it.
PAGE = """<!doctype html><meta name="referrer" content="no-referrer"><title>evil</title>
<img src="HUB/dweet/for/forged?from=img">
<script src="HUB/queue/work"></script>
<iframe src="HUB/dweet/for/forged?from=iframe"></iframe>
<form id="form" method="get" action="HUB/dweet/for/forged" target="other"><input name="from" value="form"></form>
<iframe name="other"></iframe>
<script>
  document.querySelector("#form").submit();
  const tries = [
    fetch("HUB/dweet/for/forged?from=fetch", {mode: "no-cors"}),
    fetch("HUB/queue/work", {mode: "no-cors", method: "POST", body: '{"from": "fetch"}'}),
    fetch("HUB/queue/work", {mode: "no-cors"}),
    navigator.sendBeacon("HUB/queue/work", '{"from": "beacon"}'),
  ];
  addEventListener("load", () => Promise.allSettled(tries).then(() => { document.title = "done"; }));
</script>
"""


@contextmanager
def site(page: str) -> Iterator[str]:
    """Another site, of one page; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield f"http://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            serving.join()


def test_a_page_of_another_site_can_neither_send_nor_take(tmp_path: Path) -> None:
    with (
        switched(tmp_path / "hub", "dweet", "queue") as hub,
        Browser() as browser,
        site(PAGE.replace("HUB", hub.url)) as url,
    ):
        hub.client.post("/queue/work", json="mine")
        browser.open(url)
        browser.wait_until(lambda: browser.execute("return document.title") == "done", "the page to have tried all")
        tried = [one for one in browser.requests() if one.startswith(hub.url)]
        assert len(tried) >= 8
        assert hub.client.get("/get/latest/dweet/for/forged").status_code == 404
        # Somebody who types the address may.
        browser.open(f"{hub.url}/dweet/for/typed?level=1")
        assert hub.client.get("/get/latest/dweet/for/typed").json()["with"][0]["content"] == {"level": 1}
        assert hub.client.get("/queue/work/stats").json()["messages"] == 1
        assert hub.client.get("/queue/work").json() == "mine"
