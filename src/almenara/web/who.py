"""Who asks for a change, as journals name them."""

from __future__ import annotations

import base64
import binascii

from starlette.requests import Request

MAX_WHO = 200


def who_asks(request: Request, said: str = "") -> str:
    """The user name of the request's Basic authorization, beside who it says itself; `said` where there is none."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    user = ""
    if scheme.lower() == "basic":
        try:
            user = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "replace").partition(":")[0]
        except binascii.Error:
            user = ""
    if user and said and user != said:
        return f"{said} ({user})"[:MAX_WHO]
    return (user or said)[:MAX_WHO]
