"""The dashboard's files, BokehJS from the installed package, and the login page. Nothing comes from another host."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import math
import mimetypes
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from almenara.model.errors import MissingExtra
from almenara.web.body import Limits, read_body
from almenara.web.errors import HttpError
from almenara.web.guard import COOKIE, Guard

STATIC = Path(__file__).parent / "static"
#: Not left to the machine's mime tables: a script of another type is not run.
_MEDIA = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
_COOKIE_AGE_S = 30 * 86_400
_BOKEH_FILE = re.compile(r"[a-z-]+(\.min)?\.js")
_STATIC_FILE = re.compile(r"[\w-]+(/[\w-]+)*(\.[\w-]+)+")

#: What a page may load and do: everything of ours, nothing of others, no inline script. BokehJS writes style elements.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]

_LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Almenara: sign in</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:22rem;margin:15vh auto;padding:0 1rem}}
input,button{{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;margin-top:.5rem}}</style></head>
<body><h1>Almenara</h1><form method="post" action="/login"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button></form><p role="alert">{message}</p>
<p>The hub printed the token when it made it; it also stands in the config file.</p></body></html>
"""


@dataclass(frozen=True, slots=True)
class _Held:
    """A file in memory, as it is sent; `version` tells whether it is still the one on disk."""

    version: tuple[int, int]
    plain: bytes
    zipped: bytes
    etag: str
    media_type: str


class Pages:
    """Handlers of everything a browser loads."""

    def __init__(self, guard: Guard, limits: Limits):
        self._guard = guard
        self._limits = limits
        self._held: dict[Path, _Held] = {}

    async def page(self, request: Request) -> Response:
        """GET /, /series, /alarms, /sources: the dashboard, one page that knows its paths."""
        return await self._file(request, STATIC / "index.html")

    async def static(self, request: Request) -> Response:
        """GET /static/{path}: scripts, styles and pictures of the dashboard."""
        name = request.path_params["path"]
        path = STATIC / name
        if not _STATIC_FILE.fullmatch(name) or not path.is_file():
            raise HttpError(404, f"no file is called {name[:100]!r}")
        return await self._file(request, path)

    async def bokeh(self, request: Request) -> Response:
        """GET /static/bokeh/{name}: BokehJS of the installed package."""
        name = request.path_params["name"]
        path = bokeh_folder() / name
        if not _BOKEH_FILE.fullmatch(name) or not path.is_file():
            raise HttpError(404, f"BokehJS has no file {name[:100]!r}")
        return await self._file(request, path)

    async def _file(self, request: Request, path: Path) -> Response:
        """A file, compressed once and then held; 304 where the browser has it."""
        stat = path.stat()
        held = self._held.get(path)
        if held is None or held.version != (stat.st_mtime_ns, stat.st_size):
            held = self._held[path] = await asyncio.to_thread(_hold, path, (stat.st_mtime_ns, stat.st_size))
        # Browsers ask each time whether the file is still the same: after an upgrade nobody sees old pages.
        headers = {"cache-control": "no-cache", "etag": held.etag, "vary": "accept-encoding"}
        if held.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if held.zipped and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(held.zipped, headers={**headers, "content-encoding": "gzip"}, media_type=held.media_type)
        return Response(held.plain, headers=headers, media_type=held.media_type)

    async def login(self, request: Request) -> Response:
        """GET, POST /login: a page that asks for the token; with `token` it sets the cookie and goes on to /."""
        pairs = request.scope["query_string"]
        if request.method == "POST":
            limits = self._limits
            pairs = await read_body(request.scope["headers"], request.receive, limits.form_bytes, limits.body_timeout_s)
        given = dict(parse_qsl(pairs.decode("utf-8", "replace"))).get("token", "")
        if not self._guard.needs_token:
            return RedirectResponse("/", 303)
        if not given:
            return HTMLResponse(_LOGIN.format(message=""), headers={"cache-control": "no-store"})
        address, tries = request.client.host if request.client else "", self._guard.tries
        if wait_s := tries.wait_s(address):  # also with the right one, or guessing could go on
            told = f"Too many wrong tokens from your address. Try again in {math.ceil(wait_s)} s."
            headers = {"cache-control": "no-store", "retry-after": str(math.ceil(wait_s))}
            return HTMLResponse(_LOGIN.format(message=told), 429, headers=headers)
        if not self._guard.is_token(given.encode()):
            tries.wrong(address)
            wrong = "That is not the token."
            return HTMLResponse(_LOGIN.format(message=wrong), 401, headers={"cache-control": "no-store"})
        tries.right(address)
        answer = RedirectResponse("/", 303, headers={"cache-control": "no-store"})
        answer.set_cookie(
            COOKIE,
            self._guard.session,
            max_age=_COOKIE_AGE_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer


def bokeh_folder() -> Path:
    """Where the installed Bokeh keeps its scripts; found without importing it. Raises MissingExtra."""
    spec = find_spec("bokeh")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("charts", "hub")
    return Path(spec.submodule_search_locations[0]) / "server" / "static" / "js"


def _hold(path: Path, version: tuple[int, int]) -> _Held:
    plain = path.read_bytes()
    zipped = gzip.compress(plain, 6, mtime=0)
    etag = f'"{hashlib.sha256(plain).hexdigest()[:20]}"'
    media_type = _MEDIA.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _Held(version, plain, zipped if len(zipped) < 0.9 * len(plain) else b"", etag, media_type)
