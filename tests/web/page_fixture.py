"""A small server with made-up data that speaks the hub's API, so that the pages can be seen and tested without a hub.

Run it by hand with `python -m tests.web.page_fixture [scene] [port]`; scenes are `busy`, `calm` and `empty`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import bokeh
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from tests.web.page_hub import COLUMNS, FAULTS, Hub, judged, numbers, text_of

STATIC = Path(__file__).parents[2] / "src/almenara/web/static"
BOKEH = Path(bokeh.__file__).parent / "server/static/js"
CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_KNOWN = {"per_week": 7.0, "p_limit": 1.6e-5, "series": 40, "rows_a_week": 403_200.0, "weeks": 4.0}
BUDGETS = [
    {"name": "plant", "alerts": 60, "rate": 15.0, "low": 11.4, "high": 19.3} | _KNOWN,
    {"name": "shop", "alerts": 19, "rate": 4.75, "low": 2.86, "high": 7.42} | _KNOWN,
    {"name": "cities", "alerts": 0, "rate": None, "low": None, "high": None} | _KNOWN | {"series": 1, "weeks": 0.0},
]


def prometheus(data: object) -> JSONResponse:
    return JSONResponse({"status": "success", "data": data})


def error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"status": "error", "errorType": "bad_data", "error": text}, status)


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


class Api:
    """What a hub of the fixture answers on each path."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def page(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def status(self, _: Request) -> Response:
        return JSONResponse(self._hub.status())

    async def series(self, request: Request) -> Response:
        limit = int(request.query_params.get("limit", 0)) or None
        return prometheus(self._hub.find(request.query_params.getlist("match[]"))[:limit])

    async def labels(self, _: Request) -> Response:
        return prometheus(sorted({k for s in self._hub.series for k in s}))

    async def values(self, request: Request) -> Response:
        name = request.path_params["name"]
        return prometheus(sorted({s[name] for s in self._hub.series if name in s}))

    async def view(self, request: Request) -> Response:
        q = request.query_params
        found = self._hub.view(q["series"], float(q["start"]), float(q["end"]), int(q.get("width", 800)))
        return JSONResponse(found) if found else error(404, f"no series {q['series']}")

    async def alarms(self, _: Request) -> Response:
        return JSONResponse(self._hub.alarms())

    async def incidents(self, request: Request) -> Response:
        wanted = ("firing",) if request.query_params.get("open") == "true" else ("firing", "resolved")
        return JSONResponse([one for one in self._hub.incidents() if one["state"] in wanted])

    async def incident(self, request: Request) -> Response:
        found = [one for one in self._hub.incidents() if str(one["id"]) == request.path_params["id"]]
        if not found:
            return error(404, f"there is no incident {request.path_params['id']}")
        more = {"lines": [], "changes": found[0]["members"], "messages": [], "match": None, "silenced": []}
        return JSONResponse(found[0] | more)

    async def ledger(self, _: Request) -> Response:
        rows = self._hub.sources()
        words = ("received", "stored", "late", "duplicate", "overwritten", "events")
        total: dict[str, object] = {word: sum(one[word] for one in rows) for word in words}  # type: ignore[misc]
        for word in ("rejected", "dropped"):
            total[word] = {reason: n for one in rows for reason, n in one[word].items()}  # type: ignore[attr-defined]
        return JSONResponse({"total": total, "sources": rows})

    async def budgets(self, _: Request) -> Response:
        return JSONResponse([] if self._hub.scene != "busy" else BUDGETS)

    async def events(self, _: Request) -> Response:
        return JSONResponse(
            []
            if self._hub.scene == "empty"
            else [
                {
                    "time_ms": time.time() * 1000 - 65_000,
                    "labels": {"app": "kernel", "host": "gw"},
                    "text": "link eth1 is down",
                }
            ]
        )

    async def demo_break(self, request: Request) -> Response:
        fault = (await request.json())["fault"]
        if fault not in FAULTS:
            return error(404, f"no fault {fault}")
        now = time.time_ns() // 1_000_000
        self._hub.injected.append({"fault": fault, "since": now, "until": now + 165_000})
        return JSONResponse(self._hub.status()["demo"])

    async def push(self, request: Request) -> Response:
        body = await request.json()
        self._hub.extra.setdefault(body["series"], []).append([time.time() * 1000, body["value"]])
        return Response(status_code=204)

    async def live(self, request: Request) -> Response:
        chosen = (
            self._hub.find(request.query_params.getlist("match[]"))[:1000] if "match[]" in request.query_params else []
        )
        return StreamingResponse(
            self._stream(request, chosen), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def export(self, _: Request) -> Response:
        return PlainTextResponse("time,series,value\n", media_type="text/csv")

    async def _stream(self, request: Request, chosen: list[dict[str, str]]) -> AsyncIterator[bytes]:
        yield b": hello\n\n"
        sent = {text: len(rows) for text, rows in self._hub.extra.items()}
        while not self._hub.closing and not await request.is_disconnected():
            yield event("status", self._hub.status())
            rows: list[list[float | None]] = []
            now = np.array([time.time() * 1000 // 1])
            for i, labels in enumerate(chosen):
                text = text_of(labels)
                for t, v in self._hub.extra.get(text, [])[sent.get(text, 0) :]:
                    rows.append([i, t, v, None, None, None, None])
                sent[text] = len(self._hub.extra.get(text, []))
                row = judged(labels, now, self._hub.started)
                rows.append([i, now[0], *(numbers(row[k])[0] for k in COLUMNS)])
            if rows:
                yield event("rows", {"series": chosen, "rows": rows})
            for _ in range(10):
                await asyncio.sleep(0 if self._hub.closing else 0.1)


def routes_of(api: Api) -> list[BaseRoute]:
    """All paths."""
    pages = [Route(path, api.page) for path in ("/", "/series", "/alarms", "/sources")]
    return [
        *pages,
        Route("/api/v1/status", api.status),
        Route("/api/v1/series", api.series),
        Route("/api/v1/labels", api.labels),
        Route("/api/v1/label/{name}/values", api.values),
        Route("/api/v1/view", api.view),
        Route("/api/v1/alarms", api.alarms),
        Route("/api/v1/incidents", api.incidents),
        Route("/api/v1/incidents/{id}", api.incident),
        Route("/api/v1/ledger", api.ledger),
        Route("/api/v1/budgets", api.budgets),
        Route("/api/v1/events", api.events),
        Route("/api/v1/export", api.export),
        Route("/api/v1/live", api.live),
        Route("/api/v1/demo/break", api.demo_break, methods=["POST"]),
        Route("/fixture/push", api.push, methods=["POST"]),
        Mount("/static/bokeh", StaticFiles(directory=BOKEH)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


def app_of(hub: Hub) -> Starlette:
    """The whole application over one hub."""
    app = Starlette(routes=routes_of(Api(hub)))

    async def with_headers(scope: dict, receive: object, send: object) -> None:
        async def sending(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(b"content-security-policy", CSP.encode()), (b"cache-control", b"no-store")]
            await send(message)  # type: ignore[operator]

        await app(scope, receive, sending if scope["type"] == "http" else send)  # type: ignore[arg-type]

    with_headers.state = app  # type: ignore[attr-defined]
    return with_headers  # type: ignore[return-value]


class Server:
    """uvicorn in a thread, on a free port unless told; a context manager that gives itself."""

    def __init__(self, scene: str = "busy", port: int = 0) -> None:
        self.hub = Hub(scene)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                app_of(self.hub),
                host="127.0.0.1",
                port=port,
                log_level="warning",
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._uvicorn.started:
            if time.monotonic() > deadline:
                raise TimeoutError("the fixture server did not start within 60 s")
            time.sleep(0.01)
        port = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.hub.closing = True  # live streams end by themselves
        self._uvicorn.should_exit = True
        self._thread.join(60)


if __name__ == "__main__":
    with Server(*(sys.argv[1:2] or ["busy"]), port=int(sys.argv[2]) if len(sys.argv) > 2 else 8765) as server:
        print(server.url, flush=True)
        threading.Event().wait()
