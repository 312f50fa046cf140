"""A throw-away certificate authority for servers of the local rig.

Everything local speaks TLS, because the SDKs refuse anything else. One call makes an authority of
its own and a server certificate for ``localhost`` and ``127.0.0.1`` in a directory the caller
owns; nothing is added to the machine's trust store, so a client has to be told ``ca_file``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    import os

NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True, kw_only=True)
class Certs:
    """Paths of PEM files: the authority to trust, and what a server presents."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    @classmethod
    def within(cls, folder: Path) -> Certs:
        """Where a folder has them, or is going to."""
        ca, cert, key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
        return cls(ca_file=ca, cert_file=cert, key_file=key)


def make_certs(directory: str | os.PathLike[str]) -> Certs:
    """Write a new authority and a server certificate into ``directory`` and return their paths.

    The directory is made when it is missing; files of an earlier call are replaced.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    certs = Certs.within(folder)
    authority = trustme.CA(organization_name="Local rig")
    leaf = authority.issue_cert(*NAMES)
    authority.cert_pem.write_to_path(str(certs.ca_file))
    certs.cert_file.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    certs.key_file.touch(mode=0o600)
    certs.key_file.chmod(0o600)
    leaf.private_key_pem.write_to_path(str(certs.key_file))
    return certs
