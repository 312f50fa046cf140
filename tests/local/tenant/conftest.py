"""A served tenant and a client for it, in one line per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from local.certs import Certs, make_certs
from local.tenant import Tenant, TenantServer, TenantSpec
from tests.waits import LONG

TENANT_ID = "3c5158d0-5962-5090-9c19-b6852a206f1d"
CLIENT_ID = "0464675c-a6f7-5d20-927c-335cdd182f3d"
SECRET = "a-made-up-secret"
EXCHANGE = "Audit.Exchange"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def make_spec(**fields: Any) -> TenantSpec:
    given = {
        "tenant_id": TENANT_ID,
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "contents": 0,
        "records": 3,
        "subscribed": (EXCHANGE,),
    }
    return TenantSpec(**{**given, **fields})


def make_tenant(**fields: Any) -> Tenant:
    """A tenant whose clock stands still until it is advanced."""
    return Tenant(make_spec(**fields), clock=lambda: NOW)


class Client:
    """Asks a served tenant as a collector does, with a token it already has."""

    def __init__(self, server: TenantServer) -> None:
        self.server = server
        self.tenant = server.tenant
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(server.certs.ca_file)
        self.renew()

    def renew(self) -> None:
        token = self.tenant.tokens.issue("https://manage.office.com")
        self.session.headers["Authorization"] = f"Bearer {token}"

    @property
    def root(self) -> str:
        return f"{self.server.endpoint}/api/v1.0/{TENANT_ID}/activity/feed"

    def get(self, url: str, **more: Any) -> requests.Response:
        address = url if url.startswith("https:") else f"{self.root}/{url}"
        return self.session.get(address, timeout=LONG, allow_redirects=False, **more)

    def start(self, source: str = EXCHANGE, body: str | bytes = b"") -> requests.Response:
        return self.session.post(
            f"{self.root}/subscriptions/start?contentType={source}", data=body, timeout=LONG
        )

    def stop(self, source: str = EXCHANGE) -> requests.Response:
        address = f"{self.root}/subscriptions/stop?contentType={source}"
        return self.session.post(address, timeout=LONG)

    def page(
        self,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        source: str = EXCHANGE,
    ) -> requests.Response:
        """One page; of the last 23 hours without bounds."""
        now = self.tenant.now()
        bounds = {"startTime": start or now - timedelta(hours=23), "endTime": end or now}
        query = "".join(
            f"&{name}={when if isinstance(when, str) else f'{when:%Y-%m-%dT%H:%M:%S}'}"
            for name, when in bounds.items()
        )
        return self.get(f"subscriptions/content?contentType={source}{query}")

    def pages(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        source: str = EXCHANGE,
    ) -> Iterator[list[dict[str, str]]]:
        """All pages of a listing."""
        answer = self.page(start, end, source)
        while True:
            answer.raise_for_status()
            yield answer.json()
            following = answer.headers.get("NextPageUri")
            if following is None:
                return
            answer = self.get(following)

    def listed(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        source: str = EXCHANGE,
    ) -> list[str]:
        """Content ids of all pages."""
        return [entry["contentId"] for page in self.pages(start, end, source) for entry in page]

    def content(self, content_id: str, **more: Any) -> requests.Response:
        return self.get(f"audit/{content_id}", **more)


Serve = Callable[..., Client]


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return make_certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def serve(certs: Certs) -> Iterator[Serve]:
    """Serves a tenant, given as one or as fields of a spec, until the test ends."""
    with ExitStack() as stack:

        def start(tenant: Tenant | None = None, *, gzip_level: int = 1, **fields: Any) -> Client:
            server = TenantServer(
                tenant or make_tenant(**fields), certs=certs, gzip_level=gzip_level
            )
            client = Client(stack.enter_context(server))
            stack.callback(client.session.close)
            return client

        yield start


def code_of(answer: requests.Response) -> str:
    return str(answer.json()["error"]["code"])
