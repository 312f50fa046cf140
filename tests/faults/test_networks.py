"""Closed networks: one proxy leads out, a private authority signs everything, only port 443 is open."""

from __future__ import annotations

import base64
import json
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from local.azurite import Azurite
from local.certs import Certs, make_certs
from local.connect_proxy import ConnectProxy
from local.eventhubs import EventHubs
from shared.state.account import Storage
from shared.state.tables import RUNS_TABLE
from tests.harness import EXCHANGE, FAST, HUB, Rig
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Event Hubs' SDK leaves the socket of a connection open that could not be made.
pytestmark = [
    pytest.mark.usefixtures("collected_before"),
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

WEBSOCKET = {"M365_EVENTHUB_TRANSPORT": "websocket", "M365_CONNECT_SECONDS": "1"}


@pytest.fixture(scope="module")
def storage(certs: Certs) -> Iterator[Azurite]:
    with Azurite(certs=certs) as running:
        yield running


class _SecureRig(Rig):
    """A rig in which Event Hubs and Storage, too, speak TLS under the private authority."""

    def __init__(self, certs: Certs, storage_connection: str) -> None:
        super().__init__(certs, storage_connection)
        self.storage.close()
        self.storage = Storage.from_connection_string(
            storage_connection, connection_verify=str(certs.ca_file)
        )
        self.hubs = EventHubs({HUB: 2}, tls=(str(certs.cert_file), str(certs.key_file)))

    def values(self, **more: str) -> dict[str, str]:
        return super().values(**{"M365_EVENTHUB_ENDPOINT": self.hubs.endpoint, **more})


@pytest.fixture
def rig(certs: Certs, storage: Azurite) -> Iterator[Rig]:
    with _SecureRig(certs, storage.connection_string) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def _ports(rig: Rig, storage: Azurite) -> dict[str, int]:
    urls = {
        "microsoft": rig.server.endpoint,
        "hub": rig.hubs.endpoint,
        "blobs": storage.blob_endpoint,
        "tables": storage.table_endpoint,
    }
    return {name: urlsplit(url).port or 0 for name, url in urls.items()}


def test_everything_is_delivered_through_the_proxy_and_over_websockets(
    rig: Rig, storage: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.offer_many(20)
    with ConnectProxy(user="collector", password="p@ss/w:rd") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        summary = rig.run(settings=WEBSOCKET)

        asked = [each.port for each in proxy.asked if each.status == 200]
        monkeypatch.delenv("HTTPS_PROXY")
    assert (summary.status, summary.delivered) == ("succeeded", 20)
    rig.assert_complete()
    assert rig.repeats() == 0
    ports = _ports(rig, storage)
    assert set(asked) == set(ports.values())
    # Not one connection to the hub came another way.
    assert rig.hubs.stats.websockets == rig.hubs.stats.connections == asked.count(ports["hub"])


@pytest.mark.parametrize("transport", ["amqp", "websocket"])
def test_a_private_authority_holds_for_every_service(rig: Rig, transport: str) -> None:
    rig.offer_many(5)

    summary = rig.run(settings={**WEBSOCKET, "M365_EVENTHUB_TRANSPORT": transport})

    assert (summary.status, summary.delivered) == ("succeeded", 5)
    rig.assert_complete()
    assert (rig.hubs.stats.websockets > 0) == (transport == "websocket")


def test_what_no_proxy_names_goes_past_the_proxy(
    rig: Rig, storage: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.offer_many(3)
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        # Storage by a private endpoint: the rest is on localhost, storage is not.
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        rig.run(settings=WEBSOCKET)
        asked = {each.port for each in proxy.asked}
        monkeypatch.delenv("HTTPS_PROXY")
    rig.assert_complete()
    ports = _ports(rig, storage)
    assert asked == {ports["microsoft"], ports["hub"]}


@pytest.mark.parametrize("refused", ["microsoft", "hub"])
def test_a_host_that_the_proxy_refuses_ends_the_run_by_name_and_is_delivered_once_allowed(
    rig: Rig, storage: Azurite, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    rig.offer_many(3)
    with ConnectProxy(refuse=[f"localhost:{_ports(rig, storage)[refused]}"]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        # The SDK tries thrice before it says why.
        patience = replace(FAST.patience, watchdog=10.0, no_acknowledgement=8.0)
        summary = rig.run(settings=WEBSOCKET, patience=patience)
    monkeypatch.delenv("HTTPS_PROXY")
    assert summary.status == "failed"
    assert "the proxy refuses to connect to it (HTTP 403)" in summary.error
    assert rig.events() == []
    (row,) = rig.run_rows()
    assert row["error"] == summary.error

    rig.run(settings=WEBSOCKET)

    rig.assert_complete()


def test_an_authority_that_is_not_in_the_file_is_named_with_the_setting(
    rig: Rig, tmp_path: Path
) -> None:
    rig.offer_many(1)
    other = make_certs(tmp_path)

    summary = rig.run(settings={"M365_CA_FILE": str(other.ca_file)})

    assert summary.status == "failed"
    assert "M365_CA_FILE" in summary.error


def test_an_identity_reaches_hub_and_storage_by_endpoints_of_their_own(
    rig: Rig, storage: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.offer_many(3)
    settings = {
        "M365_EVENTHUB_CONNECTION_STRING": "",
        "M365_EVENTHUB_NAMESPACE": "contoso.servicebus.windows.net",
        "M365_STORAGE_CONNECTION_STRING": "",
        "M365_STORAGE_ACCOUNT": "devstoreaccount1",
        "M365_STORAGE_BLOB_ENDPOINT": storage.blob_endpoint,
        "M365_STORAGE_TABLE_ENDPOINT": storage.table_endpoint,
        **WEBSOCKET,
    }
    with ExitStack() as stack:
        identity = stack.enter_context(_Identity())
        proxy = stack.enter_context(ConnectProxy())
        # HTTP_PROXY, too: the identity's endpoint is on this machine, and not for a proxy.
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("IDENTITY_ENDPOINT", identity.url)
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        summary = rig.run(settings=settings)
        asked = {each.port for each in proxy.asked}
        monkeypatch.delenv("HTTPS_PROXY")
    assert (summary.status, summary.delivered) == ("succeeded", 3)
    rig.assert_complete()
    assert asked == set(_ports(rig, storage).values())
    assert identity.asked == {"https://storage.azure.com", "https://eventhubs.azure.net/"}
    assert rig.storage.table(RUNS_TABLE).rows(f"{rig.tenant.spec.tenant_id}_{EXCHANGE}")


class _Identity:
    """The endpoint that App Service gives an app with a managed identity; its tokens satisfy Azurite."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                resource = parse_qs(urlsplit(self.path).query)["resource"][0]
                asked.add(resource)
                body = json.dumps(
                    {
                        "access_token": _token(resource),
                        "expires_on": str(int(time.time()) + 3600),
                        "token_type": "Bearer",
                    }
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/msi/token"

    def __enter__(self) -> _Identity:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(LONG)
        self._server.server_close()


def _token(audience: str) -> str:
    now = int(time.time())
    claims = {"iss": "https://sts.windows.net/rig/", "aud": audience, "iat": now - 60}
    claims |= {"nbf": now - 60, "exp": now + 3600}
    parts = ({"alg": "RS256", "typ": "JWT"}, claims, "signature")
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
