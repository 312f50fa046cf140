"""The few requests that the loops beside the collector need: a token, and the addresses of contents.

Also used to have a tenant write and compress every body before anything is timed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import requests

TIMEOUT_S = 60.0
_READERS = 4


def token(settings: dict[str, str]) -> str:
    """A bearer token for the Management API of the tenant that these settings reach."""
    answer = requests.post(
        f"{settings['M365_LOGIN_ENDPOINT']}/{settings['M365_TENANT_ID']}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": settings["M365_CLIENT_ID"],
            "client_secret": settings["M365_CLIENT_SECRET"],
            "scope": "https://manage.office.com/.default",
        },
        verify=settings["M365_CA_FILE"],
        timeout=TIMEOUT_S,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def uri(settings: dict[str, str], content_id: str) -> str:
    """Where a content is fetched."""
    root = settings["M365_MANAGEMENT_ENDPOINT"]
    return f"{root}/api/v1.0/{settings['M365_TENANT_ID']}/activity/feed/audit/{content_id}"


def fetch_all(settings: dict[str, str], uris: Iterable[str]) -> tuple[int, int, int]:
    """Fetch contents once, so that the tenant has them ready.

    Returns:
        Records, bytes of all records, and bytes on the wire.
    """
    bearer = token(settings)

    def count(address: str) -> tuple[int, int, int]:
        with session.get(
            address,
            headers={"Authorization": f"Bearer {bearer}", "Accept-Encoding": "gzip"},
            verify=settings["M365_CA_FILE"],
            timeout=TIMEOUT_S,
            stream=True,
        ) as answer:
            answer.raise_for_status()
            raw = answer.raw.read(decode_content=False)
        body = gzip.decompress(raw)
        records = len(json.loads(body))
        # Compact arrays: two brackets, and a comma between two records.
        return records, len(body) - records - 1, len(raw)

    with requests.Session() as session, ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(count, uris))
    return sum(f[0] for f in found), sum(f[1] for f in found), sum(f[2] for f in found)
