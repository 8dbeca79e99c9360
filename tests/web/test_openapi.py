"""The description fits what is served, and the dashboard's files come as they should."""

from __future__ import annotations

import gzip
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.web.conftest import Served

from almenara.web.openapi import PARAMETERS


@pytest.fixture(scope="module")
def description(served: Served) -> dict[str, Any]:
    return served.client.get("/openapi.json").json()


def test_every_path_and_method_is_described_with_a_sentence(served: Served, description: dict[str, Any]) -> None:
    described = {(path, method) for path, methods in description["paths"].items() for method in methods}
    served_paths = {(re.sub(r":\w+}", "}", e.path), m.lower()) for e in served.app.endpoints for m in e.methods}
    assert described == served_paths
    for path, methods in description["paths"].items():
        for method, one in methods.items():
            assert len(one["summary"]) > 10, (path, method)


def test_operations_and_parameters_are_named_once(description: dict[str, Any]) -> None:
    operations = [one for methods in description["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    used = {p["name"] for one in operations for p in one["parameters"] if p["in"] == "query"}
    assert used == set(PARAMETERS)


def test_no_two_routes_hide_each_other(served: Served) -> None:
    plain = [e.path for e in served.app.endpoints]
    assert len(plain) == len(set(plain))


def test_the_four_pages_are_one_file_that_is_asked_for_again(served: Served) -> None:
    pages = [served.client.get(path) for path in ("/", "/series", "/alarms", "/sources")]
    assert len({page.content for page in pages}) == 1
    assert pages[0].headers["cache-control"] == "no-cache"
    assert pages[0].headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in pages[0].headers["content-security-policy"]
    again = served.client.get("/", headers={"if-none-match": pages[0].headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_every_file_of_the_page_is_served(served: Served) -> None:
    page = served.client.get("/").text
    found = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert found
    for path in found:
        answer = served.client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["etag"]
        assert served.client.get(path, headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_bokeh_comes_from_the_installed_package_compressed(served: Served) -> None:
    answer = served.client.get("/static/bokeh/bokeh.min.js")
    assert answer.headers["content-encoding"] == "gzip"
    assert b"Bokeh" in answer.content
    plain = served.client.get("/static/bokeh/bokeh.min.js", headers={"accept-encoding": "identity"})
    assert plain.content == answer.content
    assert len(gzip.compress(plain.content, 6)) < 500_000
    again = served.client.get("/static/bokeh/bokeh.min.js", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/bokeh/../../a.js",
        "/static/bokeh/lib.js",
        "/static/js",
        "/static/",
        "/static/.hidden",
        "/static/bokeh/%00.js",
        "/static/a\\b.js",
    ],
)
def test_no_path_leads_out_of_the_folder(served: Served, path: str) -> None:
    with socket.create_connection((served.host, served.port), 5) as sock:
        sock.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 404 ")


def test_the_reference_page_names_every_path(served: Served) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text()
    missing = [e.path for e in served.app.endpoints if f"{re.sub(r':path}', '}', e.path)}`" not in page]
    assert missing == []
