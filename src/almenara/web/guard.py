"""Who may talk to the hub: the Host, Origin and token of every request, checked before anything else.

Without a token the hub listens on loopback only, and any page in the user's browser can send requests to it: a Host
that is not a loopback name is someone else's page that was rebound to 127.0.0.1, and a foreign Origin a forged form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import parse_qs, urlsplit

from starlette.requests import cookie_parser
from starlette.types import Scope

from almenara.web.body import header
from almenara.web.errors import HttpError

COOKIE = "almenara_session"
#: What never needs a token: being alive, and the page that asks for the token.
OPEN_PATHS = frozenset({"/-/healthy", "/login"})
#: Parameters that may carry the token, or a key of a dialect; they are never passed on.
SECRET_PARAMETERS = frozenset({"u", "p", "token", "key", "private_key", "delete_key"})

#: Wrong tokens that one address may give to the login page in TRIES_S.
MAX_TRIES = 10
TRIES_S = 60.0
#: Addresses whose wrong tries are remembered; of more the one that tried last longest ago is forgotten.
MAX_ADDRESSES = 4096

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d+)?", re.ASCII)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: What browsers say of requests that no other site had a hand in (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/).
_OWN_SITE = (b"same-origin", b"none")


def _nobody(scope: Scope) -> bool:
    """Nobody is let in without the token."""
    return False


class Guard:
    """Checks requests. With `token` every path but OPEN_PATHS needs it; without it only loopback Hosts are answered."""

    def __init__(self, token: str | None = None, allowed_hosts: Collection[str] = ()):
        self._token = token.encode() if token else None
        self._allowed = frozenset(name.lower() for name in allowed_hosts)
        self._known = lru_cache(maxsize=256)(self._is_allowed_host)
        self.session = session_of(token) if token else ""
        self.tries = Tries()

    @property
    def needs_token(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def check(self, scope: Scope, admits: Callable[[Scope], bool] = _nobody) -> None:
        """Raises HttpError: 400 without one Host, 421 for a foreign one, 403 for a foreign Origin, 401: no token.

        admits: whether a request shows another key that does instead of the token."""
        host = origin = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    raise HttpError(400, "a request has one Host header; got two", close=True)
                host = value
            elif name == b"origin":
                origin = value
        if host is None:
            if scope["http_version"] != "1.0":  # devices that speak HTTP/1.0 send none, browsers always do
                raise HttpError(400, "the Host header is missing", close=True)
        elif not self._known(host):
            raise HttpError(
                421, f"this hub does not answer to the Host {host.decode('latin-1')!r}; use its own address"
            )
        if origin is not None and scope["method"] not in _SAFE_METHODS:
            self._check_origin(origin.decode("latin-1"), (host or b"").decode("latin-1"), scope["scheme"])
        if not (self._token is None or scope["path"] in OPEN_PATHS or self._has_token(scope) or admits(scope)):
            raise HttpError(401, "a token is needed", headers={"www-authenticate": 'Bearer realm="almenara"'})

    def check_change(self, scope: Scope) -> None:
        """Raises HttpError 403 where a page of another site makes a browser ask for what changes something, by any
        method: an image or a link has no Origin. 405 for HEAD, which changes nothing."""
        if scope["method"] == "HEAD":
            raise HttpError(405, "HEAD changes nothing; use GET", headers={"allow": "GET"})
        host = header(scope["headers"], b"host").decode("latin-1")
        for name, value in scope["headers"]:
            if name == b"sec-fetch-site" and value.strip().lower() not in _OWN_SITE:
                raise HttpError(403, "a page of another site may not change anything here")
            if name in (b"origin", b"referer"):
                self._check_origin(value.decode("latin-1"), host, scope["scheme"])

    def _is_allowed_host(self, host: bytes) -> bool:
        name = _host_name(host.decode("latin-1"))
        if name in self._allowed or is_loopback(name):
            return True
        # A page rebound to our address has neither our cookie nor the token.
        return self.needs_token and not self._allowed

    def _check_origin(self, origin: str, host: str, scheme: str) -> None:
        theirs = urlsplit(origin)
        if theirs.netloc:
            if theirs.netloc.lower() == host.lower():
                return
            default = {"http": ":80", "https": ":443"}.get(theirs.scheme, "")
            if f"{theirs.netloc}{default}".lower() == host.lower() or theirs.hostname in self._allowed:
                return
        raise HttpError(403, f"a page of {origin!r} may not change anything here")

    def _has_token(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"authorization":
                if any(self.is_token(secret) for secret in _secrets(value)):
                    return True
            elif name == b"cookie":
                session = cookie_parser(value.decode("latin-1")).get(COOKIE, "")
                if hmac.compare_digest(session.encode(), self.session.encode()):
                    return True
        if b"p=" in scope["query_string"]:  # Influx 1.x: /write?u=...&p=...
            passwords = parse_qs(scope["query_string"].decode("latin-1")).get("p", [])
            return any(self.is_token(password.encode()) for password in passwords)
        return False

    def is_token(self, secret: bytes) -> bool:
        """Whether this is the token, compared in constant time."""
        return self._token is not None and hmac.compare_digest(secret, self._token)


class Tries:
    """Wrong tokens given to the login page, by address: at most MAX_TRIES within TRIES_S; its memory is bounded.

    clock: seconds, rising. An IPv6 address stands for its /64, which one person may well have whole.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until this address may try again; 0 = now."""
        wrong = self._wrong.get(_household(address), [])
        return max(0.0, wrong[0] + TRIES_S - self._clock()) if len(wrong) >= MAX_TRIES else 0.0

    def wrong(self, address: str) -> None:
        """Note a wrong token."""
        key = _household(address)
        times = self._wrong.pop(key, [])
        self._wrong[key] = [*times, self._clock()][-MAX_TRIES:]
        if len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)

    def right(self, address: str) -> None:
        """Forget the wrong tokens of an address that knows the right one."""
        self._wrong.pop(_household(address), None)


def _household(address: str) -> str:
    try:
        given = ip_address(address)
    except ValueError:  # a socket without addresses
        return ""
    if isinstance(given, IPv6Address) and given.ipv4_mapped is None:
        return str(ip_network((given, 64), strict=False))
    return address


def session_of(token: str) -> str:
    """The value of the login cookie: derived from the token, so that a new token ends all sessions."""
    return hmac.new(token.encode(), b"almenara session 1", hashlib.sha256).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """The name in a Host header, in lower case, without its port and brackets; empty where it is no host."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""


def _secrets(authorization: bytes) -> list[bytes]:
    """What an Authorization header offers: the token of Bearer and Token, the password of Basic."""
    scheme, _, rest = authorization.partition(b" ")
    rest = rest.strip()
    if scheme.lower() in (b"bearer", b"token"):  # `Token` is what Influx 2 clients send; of `Token user:pass` the pass
        return [rest, rest.partition(b":")[2]]
    if scheme.lower() == b"basic":
        try:
            return [base64.b64decode(rest, validate=True).partition(b":")[2]]
        except binascii.Error:
            return []
    return []
