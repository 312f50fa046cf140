"""A certificate of an app registration: read from a setting, checked, and asked when it expires."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate with its private key.

    Attributes:
        data: PEM or PFX bytes, as azure-identity takes them; not in ``repr``.
        password: of the key, "" where it has none; not in ``repr``.
        expires: end of its validity, UTC.
    """

    data: bytes = field(repr=False)
    password: str = field(repr=False)
    expires: datetime


def read_certificate(text: str, password: str) -> Certificate:
    """Read a certificate from a setting's value: PEM, or the base64 of a PFX file (as Key Vault hands it out).

    Raises:
        ValueError: what is wrong with it, without any of it.
    """
    if "-----BEGIN" in text:
        # A setting that went through a form or a shell often holds the two characters for a line break.
        data = text.replace("\\n", "\n").encode()
        return Certificate(data=data, password=password, expires=_pem_expiry(data, password))
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        raise ValueError("neither PEM nor the base64 of a PFX file") from None
    return Certificate(data=data, password=password, expires=_pfx_expiry(data, password))


def _pem_expiry(data: bytes, password: str) -> datetime:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if b"PRIVATE KEY-----" not in data:
        raise ValueError("a PEM without a private key")
    try:
        load_pem_private_key(data, password.encode() or None)
    except (ValueError, TypeError):
        raise ValueError("a PEM whose private key cannot be read; is its password right?") from None
    try:
        return x509.load_pem_x509_certificate(data).not_valid_after_utc
    except ValueError:
        raise ValueError("a PEM without a certificate") from None


def _pfx_expiry(data: bytes, password: str) -> datetime:
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    try:
        store = load_pkcs12(data, password.encode() or None)
    except ValueError:
        raise ValueError("a PFX that cannot be read; is its password right?") from None
    if store.key is None or store.cert is None:
        raise ValueError("a PFX without a certificate and its private key")
    return store.cert.certificate.not_valid_after_utc
