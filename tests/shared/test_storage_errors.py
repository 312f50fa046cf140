"""Storage: whatever the SDK raises has a code of the table, and its message names the fix."""

from __future__ import annotations

from types import SimpleNamespace

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
from shared.storage import Conflict, storage_errors


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
