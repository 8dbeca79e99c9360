"""TLS for whoever connects: a context that always verifies, and what is wrong with the files that make it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from almenara.model.errors import ConfigError, Problem

#: Schemes of addresses that speak TLS.
SCHEMES = ("mqtts", "https", "smtps")


def client_context(url: str, *, ca_file: str = "", cert_file: str = "", key_file: str = "") -> ssl.SSLContext | None:
    """A context that verifies the server's certificate and its name; None where `url` speaks no TLS.

    ca_file: the only authorities to trust (PEM); empty: those of the system. cert_file, key_file: our own certificate
    and its private key. Raises ConfigError with each file that cannot be used, under the option's name.
    """
    files = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
    given = {option: path for option, path in files.items() if path}
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        wanted = f"begin the address with {'mqtts' if scheme == 'mqtt' else 'https'}://, or leave this out"
        _raise([Problem(option, f"is of no use without TLS; the address is {scheme}://", wanted) for option in given])
        return None
    if key_file and not cert_file:
        _raise([Problem("key_file", "is of no use without cert_file", "give the certificate that it belongs to")])
    _raise([p for option, path in given.items() for p in _unreadable(option, path)])
    context = ssl.create_default_context(cafile=ca_file or None)
    if cert_file:
        _load_own(context, given)
    return context


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(problems)


def _unreadable(option: str, path: str) -> list[Problem]:
    """What is wrong with one file, by itself."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        return [Problem(option, f"{path}: cannot be read: {error.strerror}")]
    wanted = b"PRIVATE KEY-----" if option == "key_file" else b"-----BEGIN CERTIFICATE-----"
    if wanted not in text:
        what = "private key" if option == "key_file" else "certificate"
        return [Problem(option, f"{path}: holds no {what} in PEM form", f"look for a line with {wanted.decode()!r}")]
    if option == "ca_file":
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:
            return [Problem(option, f"{path}: its certificate cannot be read: {_reason(error)}")]
    return []


def _load_own(context: ssl.SSLContext, files: Mapping[str, str]) -> None:
    cert, key = files["cert_file"], files.get("key_file", "")
    option = "key_file" if key else "cert_file"
    asked = False

    def passphrase() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(cert, key or None, passphrase)
    except (OSError, ValueError) as error:  # SSLError is one; ValueError where an empty passphrase is none
        if asked:
            problem = Problem(option, f"{key or cert}: the private key is encrypted", "give one without a passphrase")
        elif getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            problem = Problem(option, f"{key or cert}: the private key does not belong to the certificate in {cert}")
        elif not key and b"PRIVATE KEY-----" not in Path(cert).read_bytes():
            problem = Problem("cert_file", f"{cert}: holds no private key", "give it as key_file")
        else:
            problem = Problem(option, f"{key or cert}: certificate and private key cannot be used: {_reason(error)}")
        raise ConfigError([problem]) from error


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
