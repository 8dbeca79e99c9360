"""Certificates of an authority of our own, made with the openssl program."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """An authority that signs certificates into `folder`; `file` is its own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self._key, self.file = folder / f"{name}.key", folder / f"{name}.pem"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", *usage,
                 "-keyout", str(self._key), "-out", str(self.file))  # fmt: skip

    def sign(self, name: str, host: str = "") -> tuple[Path, Path]:
        """(certificate, private key) for a name; `host`: an address or name that it is to be valid for."""
        key, request, cert = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        kind = "IP" if host[:1].isdigit() else "DNS"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"basicConstraints=CA:FALSE\nsubjectAltName={kind}:{host or name}\n")
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        signer = ("-CA", str(self.file), "-CAkey", str(self._key), "-CAcreateserial", "-days", "2")
        _openssl("x509", "-req", "-in", str(request), *signer, "-extfile", str(extensions), "-out", str(cert))
        key.chmod(0o644)  # Mosquitto gives up its rights before it reads this
        return cert, key


def encrypted(key: Path, passphrase: str) -> Path:
    """The same private key behind a passphrase."""
    out = key.with_suffix(".locked")
    _openssl("pkey", "-in", str(key), "-aes256", "-passout", f"pass:{passphrase}", "-out", str(out))
    return out


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
