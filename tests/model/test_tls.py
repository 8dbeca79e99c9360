"""Rules of the files that TLS is made with: always verified, and what is wrong with a file is said under its option."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from almenara.model.errors import ConfigError
from almenara.model.tls import client_context
from certificates import Authority, encrypted

OPENSSL = pytest.mark.real("openssl")


def said(url: str = "mqtts://x", **files: Path | str) -> list[str]:
    """What is wrong with these files."""
    with pytest.raises(ConfigError) as caught:
        client_context(url, **{option: str(path) for option, path in files.items()})
    return [str(problem) for problem in caught.value.problems]


@OPENSSL
def test_a_context_always_verifies_name_and_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.sign("hub")
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    for context in (
        client_context("mqtts://x"),
        client_context("https://x", ca_file=str(authority.file)),
        client_context("mqtts://x", ca_file=str(authority.file), cert_file=str(cert), key_file=str(key)),
        client_context("mqtts://x", cert_file=str(both)),
    ):
        assert context is not None
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
    assert client_context("mqtt://x") is None


@OPENSSL
def test_an_authority_of_ones_own_is_the_only_one_trusted(tmp_path: Path) -> None:
    context = client_context("mqtts://x", ca_file=str(Authority(tmp_path, "mine").file))
    assert context is not None
    assert [dict(pair for (pair,) in ca["subject"])["commonName"] for ca in context.get_ca_certs()] == ["mine"]


def test_every_file_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no certificate")
    assert said(ca_file="/nowhere.pem", cert_file=text, key_file=tmp_path) == [
        "ca_file: /nowhere.pem: cannot be read: No such file or directory",
        f"cert_file: {text}: holds no certificate in PEM form; look for a line with '-----BEGIN CERTIFICATE-----'",
        f"key_file: {tmp_path}: cannot be read: Is a directory",
    ]
    text.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    (problem,) = said(ca_file=text)
    assert problem.startswith(f"ca_file: {text}: its certificate cannot be read: ")


def test_files_for_tls_without_tls_are_a_mistake() -> None:
    (problem,) = said("mqtt://x", ca_file="ca.pem")
    assert problem == (
        "ca_file: is of no use without TLS; the address is mqtt://; "
        "begin the address with mqtts://, or leave this out"
    )  # fmt: skip
    (problem,) = said(key_file="key.pem")
    assert "without cert_file" in problem


@OPENSSL
def test_a_key_that_does_not_fit_or_is_locked_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (cert, key), (_, other) = authority.sign("a"), authority.sign("b")
    assert said(cert_file=cert, key_file=other) == [
        f"key_file: {other}: the private key does not belong to the certificate in {cert}"
    ]
    assert said(cert_file=cert) == [f"cert_file: {cert}: holds no private key; give it as key_file"]
    locked = encrypted(key, "secret")
    assert said(cert_file=cert, key_file=locked) == [
        f"key_file: {locked}: the private key is encrypted; give one without a passphrase"
    ]
