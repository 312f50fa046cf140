"""Certificates of an app registration, made for a test."""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, kw_only=True)
class Made:
    """A certificate in every form that a setting may hold."""

    pem: str
    escaped_pem: str
    public_pem: str
    pfx: str
    password: str
    expires: datetime


def certificate(*, password: str = "", days: float = 365) -> Made:
    """Make a self-signed certificate that ends in so many days."""
    key = _key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "collector")])
    expires = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), expires) - timedelta(days=1))
        .not_valid_after(expires)
        .sign(key, hashes.SHA256())
    )
    lock: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password.encode())
        if password
        else serialization.NoEncryption()
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
    ).decode()
    public = made.public_bytes(serialization.Encoding.PEM).decode()
    pem = private + public
    pfx = pkcs12.serialize_key_and_certificates(b"collector", key, made, None, lock)
    return Made(
        pem=pem,
        escaped_pem=pem.replace("\n", "\\n"),
        public_pem=public,
        pfx=base64.b64encode(pfx).decode(),
        password=password,
        expires=expires,
    )


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
