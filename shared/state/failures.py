"""What the storage SDKs raise, as errors of ours: every call of them has one way to fail.

``Transient`` is unreachable or busy, ``ConfigError`` refused or a missing account, ``Conflict`` somebody else.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from shared import policy
from shared.errors import CollectorError
from shared.network import chain, identity_failed, reason_of
from shared.policy import Action

if TYPE_CHECKING:
    from collections.abc import Iterator


class Conflict(CollectorError):
    """Somebody else changed the blob, or holds its lease; expected, and always handled by the caller."""


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Translate the SDK's errors into ours, naming what was being done."""
    try:
        yield
    except HttpResponseError as error:
        raise _answered(f"storage: {what}", error) from error
    except AzureError as error:
        why = reason_of(error) or type(error).__name__
        raise policy.error("storage-unreachable", at=f"storage: {what}", detail=why) from error
    except TypeError as error:
        # Of an answer without a message the blob SDK stumbles over the words that it wants to make of it.
        answer = next((each for each in chain(error) if isinstance(each, HttpResponseError)), None)
        if answer is None:
            raise
        raise _answered(f"storage: {what}", answer) from error


def _answered(at: str, error: HttpResponseError) -> CollectorError:
    """What an answer of the account means, or a credential's failure, which the SDK takes for one."""
    code, status = code_of(error), error.status_code or 0
    if error.response is None and isinstance(error, ClientAuthenticationError):
        # A credential that cannot reach Entra raises the same as one that nobody answers or whose endpoint fails.
        if failed := identity_failed(error):
            return policy.error("storage-identity-failed", at=at, detail=failed)
        why = reason_of(error)
        return policy.error("storage-no-token" if why else "storage-no-identity", at=at, detail=why)
    action = policy.rule_of(code, policy.Area.STORAGE).action
    detail = ", ".join(word for word in (code, f"HTTP {status}") if word)
    if status in (401, 403) and action is not Action.STOP_FEED:
        return policy.error("storage-refused", at=at, detail=detail, status=status)
    if status in (409, 412) and not (policy.is_known(code) and action is Action.RETRY):
        return Conflict(f"{at}: {code}", code=code, status=status)
    return policy.error(
        code or "storage-failed", area=policy.Area.STORAGE, at=at, detail=detail, status=status
    )


def in_the_way(conflict: Conflict) -> CollectorError:
    """What a conflict is where nobody competes: a failure as any other."""
    return policy.error(
        conflict.code or "storage-failed",
        area=policy.Area.STORAGE,
        at="storage",
        detail=str(conflict),
        status=conflict.status,
    )


def code_of(error: Exception) -> str:
    """The service's word for an error, "" where it said none."""
    code = getattr(error, "error_code", None) or ""
    # The SDKs give an enumeration for the codes that they know, and a text for others.
    return str(getattr(code, "value", code))
