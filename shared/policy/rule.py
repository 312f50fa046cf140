"""What a row of the error policy is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.errors import CollectorError


class Action(StrEnum):
    """What the collector does about a failure; the words stand in docs/errors.md."""

    RETRY = "retry"
    """Asked again within the run, with growing pauses, and by the next run."""
    WAIT = "wait"
    """Nothing is wrong but the pace: pause, or leave the rest to the next run."""
    REFRESH_TOKEN = "refresh token"  # noqa: S105 - no password
    """Drop the token and ask once more with a fresh one; refused again, the run ends and drops that one too."""
    START_SUBSCRIPTION = "start subscription"
    """The next run looks at the subscription first, and starts it where nobody turned it off."""
    CLAMP_WINDOW = "clamp window"
    """Cut the window to what the service can still list, by its own clock; record what is lost by it."""
    LIST_AGAIN = "list again"
    """List the window again, from its start; rows where it broke off."""
    KEEP_PENDING = "keep pending"
    """This one content (or window) waits for a later run; its siblings go on."""
    DEAD_LETTER = "dead-letter"
    """Keep the bytes aside for a person, once a second look brought the same; siblings go on."""
    CLAIM_CHECK = "claim-check"
    """Smaller batches; one event by itself goes to storage, and a pointer to it to the hub."""
    STOP_FEED = "stop feed"
    """End this feed's run: a person has to mend something. Each further run looks again."""
    CARRY_ON = "carry on"
    """Nothing is wrong: what was wanted is so already, or the next run goes on."""


class Area(StrEnum):
    """Who says so."""

    API = "Office 365 Management Activity API"
    TRACE = "Message trace"
    ENTRA = "Entra (tokens for the API)"
    HUB = "Event Hubs"
    STORAGE = "Storage"
    COLLECTOR = "Collector"


IDENTITY_FAILED = (
    "The endpoint of the app's managed identity answered with a failure: there is one, and it gives no token for the "
    "moment. Nothing to do: it is asked again, by the next run too. Should it last, restart the function app, and look "
    "at the service health in the Azure portal; with a code of Entra, what that means is at "
    "https://login.microsoftonline.com/error"
)
"""What is said of a managed identity whose endpoint fails, for whatever it is asked."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: a code and what it leads to.

    Attributes:
        code: as it stands in ``error_code``; unique.
        action: what the collector does.
        log: what happened, for the log.
        message: what is wrong and how to mend it, for a person.
        loss: the reason under which a content is given up once this answer has stood for a day, "" for none. It is then
            the service's word about the one content that was asked for, and not about the credential, the pace or the
            way there. Only such a word can be the last about a content that has expired.
        one_content: whether it is never an outage, however many contents there are of which it is said.
        kind: the class of its error, where that is not that of its action.
    """

    code: str
    action: Action
    log: str
    message: str
    loss: str = ""
    one_content: bool = False
    kind: type[CollectorError] | None = None
