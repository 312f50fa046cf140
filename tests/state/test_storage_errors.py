"""Storage: whatever the SDK raises has a code of the table, and its message names the fix."""

from __future__ import annotations

import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.identity import CredentialUnavailableError

from shared.errors import CollectorError, ConfigError, Transient
from shared.state.account import Storage, read_blob
from shared.state.failures import Conflict, storage_errors
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator


def answered(kind: type[HttpResponseError], status: int, code: str) -> HttpResponseError:
    """An error as the SDK makes it from an answer."""
    answer = SimpleNamespace(status_code=status, reason="quoted-text", headers={})
    error = kind(message="quoted-text", response=answer)
    vars(error)["error_code"] = code
    return error


def meaning(error: Exception) -> CollectorError:
    with pytest.raises(CollectorError) as caught, storage_errors("read a blob"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind", "code", "words"),
    [
        pytest.param(
            answered(HttpResponseError, 403, "AuthorizationPermissionMismatch"),
            ConfigError,
            "AuthorizationPermissionMismatch",
            "Storage Blob Data Contributor",
            id="role",
        ),
        pytest.param(
            answered(ClientAuthenticationError, 401, "InvalidAuthenticationInfo"),
            ConfigError,
            "InvalidAuthenticationInfo",
            "M365_AZURE_CLOUD",
            id="wrong-cloud",
        ),
        pytest.param(
            answered(HttpResponseError, 403, "SomethingNew"),
            ConfigError,
            "storage-refused",
            "SomethingNew",
            id="refused-somehow",
        ),
        pytest.param(
            CredentialUnavailableError("quoted-text"),
            ConfigError,
            "storage-no-identity",
            "M365_IDENTITY_CLIENT_ID",
            id="no-identity",
        ),
        pytest.param(
            ClientAuthenticationError(
                "Token request error: (x) 400, AADSTS500011: quoted-text\n\tOther: quoted-text"
            ),
            Transient,
            "storage-identity-failed",
            "the managed identity's endpoint answered HTTP 400, AADSTS500011",
            id="identity-failed",
        ),
        pytest.param(
            ClientAuthenticationError("quoted-text NameResolutionError"),
            Transient,
            "storage-no-token",
            "host name is not known",
            id="entra-unreachable",
        ),
        pytest.param(
            ServiceRequestError("quoted-text Connection refused"),
            Transient,
            "storage-unreachable",
            "the connection was refused",
            id="unreachable",
        ),
        pytest.param(
            AzureError("quoted-text"), Transient, "storage-unreachable", "AzureError", id="anything"
        ),
        pytest.param(
            answered(HttpResponseError, 503, "ServerBusy"),
            Transient,
            "ServerBusy",
            "503",
            id="busy",
        ),
        pytest.param(
            answered(HttpResponseError, 500, ""), Transient, "storage-failed", "500", id="no-code"
        ),
        pytest.param(
            answered(HttpResponseError, 418, "SomethingNew"),
            Transient,
            "SomethingNew",
            "does not know",
            id="unknown",
        ),
        pytest.param(
            answered(ResourceNotFoundError, 404, "BlobNotFound"),
            Transient,
            "BlobNotFound",
            "deleted meanwhile",
            id="not-found",
        ),
        pytest.param(
            answered(ResourceExistsError, 409, "ContainerBeingDeleted"),
            Transient,
            "ContainerBeingDeleted",
            "409",
            id="being-deleted",
        ),
        pytest.param(
            answered(HttpResponseError, 412, "ConditionNotMet"),
            Conflict,
            "ConditionNotMet",
            "",
            id="conflict",
        ),
    ],
)
def test_what_the_account_says_leads_to_an_error_with_its_fix(
    error: Exception, kind: type[CollectorError], code: str, words: str
) -> None:
    found = meaning(error)

    assert type(found) is kind
    assert found.code == code
    assert words in str(found)
    assert str(found).startswith("storage: read a blob: ")
    assert "quoted-text" not in str(found)


class _Gateway(BaseHTTPRequestHandler):
    """Answers as nobody but what stands in front of an account does."""

    answer = (500, "", "")

    def do_PUT(self) -> None:
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        status, kind, body = self.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def gateway() -> Iterator[str]:
    """A connection string that leads to one."""
    with HTTPServer(("127.0.0.1", 0), _Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}/account"
        yield f"AccountName=account;AccountKey=a2V5;BlobEndpoint={endpoint};TableEndpoint={endpoint};"
        server.shutdown()
        thread.join(LONG)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(500, "storage-failed", id="failed"),
        pytest.param(403, "storage-refused", id="refused"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param("application/xml", "<Error><Code>Odd</Code></Error>", id="xml"),
        pytest.param("application/json", '{"error": {"code": "Odd"}}', id="json"),
        pytest.param("text/html", "<html>no such page</html>", id="page"),
        pytest.param("application/xml", "", id="nothing"),
    ],
)
def test_an_answer_without_a_message_is_one_of_storage_and_no_mistake_of_ours(
    gateway: str, status: int, code: str, kind: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Gateway, "answer", (status, kind, body))
    with (
        closing(Storage.from_connection_string(gateway, retry_total=0)) as storage,
        pytest.raises(CollectorError) as caught,
    ):
        read_blob(storage.state, "x")

    assert caught.value.code == code
    assert f"HTTP {status}" in str(caught.value)
