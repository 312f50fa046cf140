"""Every error of the collector, grouped by what to do about it.

    CollectorError
    ├── ConfigError      a person must mend a setting, a permission or the tenant.
    │   └── StateError   a person must decide about stored state (unreadable, or from a newer version).
    ├── AuthError        Entra or the API refuses the credential.
    ├── Throttled        the quota is used up: wait, nothing is wrong.
    ├── Transient        try again, now or in the next run.
    ├── NoToken          the token service does not answer: nothing of this connection can be asked for now.
    ├── Permanent        asking again for this one thing will not help.
    ├── SinkError        Event Hubs does not take events; nothing was marked delivered.
    │   ├── SinkBusy       it asks us to slow down.
    │   ├── EventTooLarge  it refuses a batch for its size.
    │   └── SinkRefused    it refuses our credential, or does not know the hub.
    └── RunStopped       the run takes no new work.

What leads to which of them, and with what message, is ``shared.policy``, which makes them all. Guarantee: the text of
these errors is made by this project or taken from a service's error field; it never holds a token, a secret or a
record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class CollectorError(Exception):
    """Base of all errors that end a request, a content or a feed's run in an orderly way.

    Attributes:
        code: the service's own code (``AF20022``, ``AADSTS7000215``), or a short word of ours; "" where none.
        status: the HTTP status, 0 where there was no answer.
        log: what happened, in few words; the message where nobody said.
        harmless: whether nothing is wrong: the next run, or another worker, goes on.
    """

    harmless = False

    def __init__(self, message: str, *, code: str = "", status: int = 0, log: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.log = log or message

    def about(self, what: str) -> Self:
        """Say in the message, too, what the failure is about; the log has a line of its own for that."""
        self.args = (f"{what}: {self}",)
        return self


class ConfigError(CollectorError):
    """A person must mend a setting, a permission or the tenant; trying again will not help."""


class StateError(ConfigError):
    """Stored state cannot be read, or was written by a newer version: stop rather than guess."""


class AuthError(CollectorError):
    """The credential was refused."""


class Throttled(CollectorError):
    """The quota is used up.

    Attributes:
        retry_after: seconds that the service asked for, None where it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        log: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, status=status, log=log)
        self.retry_after = retry_after


class Transient(CollectorError):
    """A failure that time is expected to heal."""


class NoToken(CollectorError):
    """The token service does not answer: nothing of this connection can be asked for now."""


class Permanent(CollectorError):
    """A definite answer that asking again will not change."""


class SinkError(CollectorError):
    """Events could not be handed over; nothing of them counts as delivered."""


class SinkBusy(SinkError):
    """The sink asks us to slow down."""


class EventTooLarge(SinkError):
    """The sink refuses a batch for its size, although it fits what the sink announced."""


class SinkRefused(SinkError):
    """The sink refuses our credential, or does not know the hub."""


class RunStopped(CollectorError):
    """The run ends; the work in hand is left for the next one and counts as nothing."""


def textless(error: BaseException, depth: int = 4) -> BaseException:
    """A stand-in for an unexpected error in the log: types and tracebacks of it and of what led to it, but no text.

    Nobody knows what the text of an error quotes that nobody expected; it may be a record.
    """
    kind = type(error)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    twin: BaseException = type(kind.__name__, (Exception,), names)()
    cause = error.__cause__ or error.__context__
    if cause is not None and depth:
        twin.__cause__ = textless(cause, depth - 1)
    return twin.with_traceback(error.__traceback__)
