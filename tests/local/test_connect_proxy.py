"""How every client of the collector leaves a closed network: through a proxy, under a private authority.

The facts about the SDKs that ``shared.network`` rests on, each tried with the arguments that it gives them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from azure.data.tables import TableServiceClient
from azure.eventhub import EventData, EventHubProducerClient
from azure.identity import ClientSecretCredential, ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient

from local.azurite import Azurite
from local.connect_proxy import Asked, ConnectProxy
from local.eventhubs import EventHubs
from local.tenant import Tenant, TenantServer, TenantSpec
from shared.errors import ConfigError, Transient
from shared.network import AMQP, WEBSOCKET, Network, proxy_for, reason_of
from shared.service.http import HttpClient
from shared.state.account import Storage, read_blob
from shared.state.transport import transport_options
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.certs import Certs

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
SECRET = "secret~of~the~proxy~tests"

# Where connections are refused or broken on purpose, the Event Hubs SDK leaves sockets open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that the collector talks to, each over TLS under the rig's authority."""

    tenant: TenantServer
    storage: Azurite
    hubs: EventHubs

    def port(self, service: str) -> int:
        urls = {
            "requests": self.tenant.endpoint,
            "identity": self.tenant.endpoint,
            "blobs": self.storage.blob_endpoint,
            "tables": self.storage.table_endpoint,
            "websocket": self.hubs.endpoint,
            "amqp": self.hubs.endpoint,
        }
        return urlsplit(urls[service]).port or 0

    def ask(self, service: str, network: Network) -> None:
        """Ask a service something, with the SDK that the collector asks it with, once."""
        ask: Callable[[Network], object] = getattr(self, f"_{service}")
        ask(network)

    def _requests(self, network: Network) -> None:
        client = HttpClient(self.tenant.endpoint, verify=network.verify)
        assert client.request("GET", self.tenant.endpoint + "/", headers={}).status == 404

    def _identity(self, network: Network) -> None:
        spec = self.tenant.tenant.spec
        with ClientSecretCredential(
            spec.tenant_id,
            spec.client_id,
            SECRET,
            authority=self.tenant.endpoint,
            disable_instance_discovery=True,
            retry_total=0,
            **network.credential_options(),
        ) as credential:
            assert credential.get_token("https://manage.office.com/.default").token

    def _blobs(self, network: Network) -> None:
        text, options = self.storage.connection_string, network.azure_options()
        with BlobServiceClient.from_connection_string(text, retry_total=0, **options) as client:
            assert client.get_account_information()["sku_name"]

    def _tables(self, network: Network) -> None:
        text, options = self.storage.connection_string, network.azure_options()
        with TableServiceClient.from_connection_string(text, retry_total=0, **options) as client:
            assert client.create_table_if_not_exists("asked").table_name == "asked"

    def _websocket(self, network: Network) -> None:
        self._publish(network, WEBSOCKET)

    def _amqp(self, network: Network) -> None:
        self._publish(network, AMQP)

    def _publish(self, network: Network, transport: str) -> None:
        options = network.eventhub_options(
            self.hubs.namespace, transport=transport, endpoint=self.hubs.endpoint
        )
        with EventHubProducerClient.from_connection_string(
            self.hubs.connection_string("audit"),
            retry_total=0,
            retry_backoff_factor=0.02,
            **options,
        ) as producer:
            producer.send_event(EventData("x"), timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def services(certs: Certs) -> Iterator[Services]:
    tenant = Tenant(
        TenantSpec(
            tenant_id=str(uuid.uuid4()),
            client_id=str(uuid.uuid4()),
            client_secret=SECRET,
            contents=0,
        )
    )
    hubs = EventHubs({"audit": 1}, tls=(str(certs.cert_file), str(certs.key_file)))
    with TenantServer(tenant, certs=certs) as server, hubs, Azurite(certs=certs) as storage:
        yield Services(tenant=server, storage=storage, hubs=hubs)


@pytest.fixture
def network(certs: Certs) -> Network:
    return Network(ca_file=str(certs.ca_file), connect=PATIENCE_S, read=PATIENCE_S)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


WITH_PROXY = ["requests", "identity", "blobs", "tables", "websocket"]
EVERY = [*WITH_PROXY, "amqp"]


# -- through the proxy


@pytest.mark.parametrize("service", WITH_PROXY)
def test_a_service_is_reached_through_the_proxy(
    services: Services, network: Network, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        services.ask(service, network)
        assert {each.port for each in proxy.asked} == {services.port(service)}
        assert {(each.method, each.status) for each in proxy.asked} == {("CONNECT", 200)}


@pytest.mark.parametrize("service", WITH_PROXY)
def test_the_proxy_is_told_name_and_password(
    services: Services, network: Network, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    with ConnectProxy(user="us er", password="p@ss/w:rd%") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        services.ask(service, network)
        # identity begins without them where the SDK does, and is asked for them
        assert proxy.asked[-1].status == 200


@pytest.mark.parametrize("service", WITH_PROXY)
def test_what_no_proxy_names_is_reached_directly(
    services: Services, network: Network, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "elsewhere.example,localhost,127.0.0.1")
        services.ask(service, network)
        assert proxy.asked == []


@pytest.mark.parametrize("service", WITH_PROXY)
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param({"user": "u", "password": "p"}, "put them into HTTPS_PROXY", id="no-password"),
        pytest.param({"refuse": ["localhost", "127.0.0.1"]}, "HTTP 403", id="refused"),
    ],
)
def test_a_proxy_that_refuses_is_named_with_what_to_do(
    services: Services,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    options: dict[str, Any],
    reason: str,
) -> None:
    with ConnectProxy(**options) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Exception, match=r".") as caught:
            services.ask(service, network)
        assert reason in _told(caught.value)
        assert 200 not in {each.status for each in proxy.asked}


def test_plain_amqp_does_not_know_the_proxy_and_goes_its_own_way(
    services: Services, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(refuse=["localhost"]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        services.ask("amqp", network)
        assert proxy.asked == []


def test_a_slow_proxy_is_waited_for_as_long_as_connecting_may_take(
    services: Services, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the one second that the SDK gives each step by itself.
    with ConnectProxy(delay_s=1.3) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        services.ask("websocket", network)
        assert [each.status for each in proxy.asked] == [200]


def test_requests_without_tls_are_passed_on_one_a_connection(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(user="u", password="p") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        for client in (BlobServiceClient, TableServiceClient):
            with client.from_connection_string(azurite.connection_string, retry_total=0) as service:
                for _ in range(2):
                    service.get_service_properties()
        ports = [urlsplit(azurite.blob_endpoint).port, urlsplit(azurite.table_endpoint).port]
        assert [each.port for each in proxy.asked] == [ports[0], ports[0], ports[1], ports[1]]
        assert {(each.method, each.status) for each in proxy.asked} == {("GET", 200)}


def test_a_managed_identity_is_asked_directly_whatever_http_proxy_says(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _identity_endpoint() as endpoint, ConnectProxy() as proxy:
        monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint)
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with ManagedIdentityCredential(retry_total=0, **network.credential_options()) as credential:
            assert credential.get_token("https://storage.azure.com/.default").token == "of-the-app"
        assert proxy.asked == []


# -- under a private authority


@pytest.mark.parametrize("service", EVERY)
def test_a_private_authority_is_trusted_where_it_is_named(
    services: Services, network: Network, service: str
) -> None:
    services.ask(service, network)


@pytest.mark.parametrize("service", EVERY)
def test_an_authority_that_nobody_named_is_refused_with_what_to_do(
    services: Services, service: str
) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        services.ask(service, Network())
    assert "M365_CA_FILE" in _told(caught.value)


@pytest.mark.parametrize("service", ["requests", "identity", "blobs", "tables"])
def test_a_bundle_of_the_environment_does_not_replace_ours(
    services: Services,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    service: str,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    services.ask(service, network)


def test_storage_is_not_said_to_refuse_a_token_that_could_not_be_fetched(
    services: Services, network: Network
) -> None:
    spec = services.tenant.tenant.spec
    authority = {"authority": services.tenant.endpoint, "disable_instance_discovery": True}
    # Storage is trusted, and Entra, under the same authority, is not.
    with ClientSecretCredential(
        spec.tenant_id, spec.client_id, SECRET, retry_total=0, **authority
    ) as credential:
        storage = Storage.from_identity(
            services.storage.blob_endpoint,
            services.storage.table_endpoint,
            credential,
            **transport_options(2, network),
        )
        with pytest.raises(Transient, match="No token from Entra.*M365_CA_FILE"):
            read_blob(storage.state, "checkpoints/none.json")
        storage.close()


# -- what the network says


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        pytest.param("http://p:3128", {"proxy_hostname": "p", "proxy_port": 3128}, id="plain"),
        pytest.param("p:3128", {"proxy_hostname": "p", "proxy_port": 3128}, id="no-scheme"),
        pytest.param(
            "http://a%40b:c%2Fd@p:1",
            {"proxy_hostname": "p", "proxy_port": 1, "username": "a@b", "password": "c/d"},
            id="quoted",
        ),
    ],
)
def test_websockets_get_the_proxy_in_their_own_words(
    monkeypatch: pytest.MonkeyPatch, proxy: str, expected: dict[str, Any]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    options = Network().eventhub_options("n.servicebus.windows.net", transport=WEBSOCKET)
    assert options["http_proxy"] == expected
    assert "http_proxy" not in Network().eventhub_options("n.servicebus.windows.net")


def test_a_proxy_that_websockets_cannot_use_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "https://name:canary@p:3128")
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        Network().eventhub_options("n.servicebus.windows.net", transport=WEBSOCKET)
    assert "canary" not in str(caught.value)


def test_the_proxy_of_an_endpoint_is_that_of_where_it_leads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", "relay.example")
    options = Network().eventhub_options(
        "n.servicebus.windows.net", transport=WEBSOCKET, endpoint="sb://relay.example:443"
    )
    assert "http_proxy" not in options
    assert proxy_for("https://n.servicebus.windows.net") == "http://p:1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("Tunnel connection failed: 502 Bad Gateway", "cannot reach it", id="502"),
        pytest.param("failed CONNECT via proxy status: 418", "HTTP 418", id="any-other"),
        pytest.param("Hostname mismatch, certificate is not valid", "another name", id="name"),
        pytest.param("[Errno -2] Name or service not known", "DNS", id="dns"),
        pytest.param("[Errno 111] Connection refused", "its port", id="refused"),
        pytest.param("canary", "", id="unknown"),
    ],
)
def test_reasons_are_told_without_the_errors_own_text(text: str, told: str) -> None:
    error = RuntimeError("outer canary")
    error.__cause__ = OSError(f"{text} canary")
    reason = reason_of(error)
    assert told in reason
    assert bool(reason) == bool(told)
    assert "canary" not in reason


# -- the proxy itself


def test_what_the_proxy_cannot_reach_is_a_bad_gateway(certs: Certs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with ConnectProxy() as proxy:
        with pytest.raises(requests.exceptions.ProxyError, match="502 Bad Gateway"):
            requests.get(
                f"https://127.0.0.1:{port}/",
                proxies={"https": proxy.url},
                timeout=PATIENCE_S,
                verify=False,
            )
        assert proxy.asked == [Asked(host="127.0.0.1", port=port, method="CONNECT", status=502)]


@pytest.mark.parametrize(
    "request_line",
    [
        pytest.param("CONNECT nowhere HTTP/1.1", id="no-port"),
        pytest.param("GET /path HTTP/1.1", id="no-host"),
        pytest.param("CONNECT a:b HTTP/1.1", id="no-number"),
        pytest.param("nonsense", id="nonsense"),
    ],
)
def test_a_request_that_names_no_host_is_bad(request_line: str) -> None:
    with ConnectProxy() as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S) as client:
            client.sendall(request_line.encode() + b"\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")
        assert [each.status for each in proxy.asked] == [400]


def test_leaving_the_proxy_cuts_its_tunnels(services: Services, certs: Certs) -> None:
    with ConnectProxy() as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S)
        client.sendall(f"CONNECT localhost:{services.port('requests')} HTTP/1.1\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    with client:
        assert client.recv(1) == b""


def test_the_process_tells_what_it_was_asked_and_ends_with_its_standard_input(
    services: Services, certs: Certs
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "local.connect_proxy", "--user", "u:p", "--refuse", "127.0.0.1"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            for host, status in (("localhost", 200), ("127.0.0.1", 403)):
                with requests.Session() as session:
                    session.trust_env = False
                    try:
                        session.get(
                            f"https://{host}:{services.port('requests')}/",
                            proxies={"https": url},
                            verify=str(certs.ca_file),
                            timeout=PATIENCE_S,
                        )
                    except requests.exceptions.ProxyError:
                        assert status == 403
                assert json.loads(process.stdout.readline()) == {
                    "host": host,
                    "port": services.port("requests"),
                    "method": "CONNECT",
                    "status": status,
                }
            _, errors = process.communicate(timeout=PATIENCE_S)
            assert (process.returncode, errors) == (0, "")
        finally:
            process.kill()


def _told(error: BaseException) -> str:
    """What a person is told: the reason, or our own error that already holds it."""
    return f"{error if 'shared' in type(error).__module__ else reason_of(error)}"


class _IdentityEndpoint(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(
            {"access_token": "of-the-app", "expires_on": "32503680000", "token_type": "Bearer"}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _identity_endpoint:
    """The endpoint that App Service gives an app with a managed identity."""

    def __enter__(self) -> str:
        self._server = HTTPServer(("127.0.0.1", 0), _IdentityEndpoint)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/msi/token"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(LONG)
        self._server.server_close()
