"""What the collector itself says, and why a service cannot be reached."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import RunStopped, SinkError, StateError
from shared.policy.rule import Action, Rule

_STATE = (
    "The feed is stopped. Deleting the blob (in container m365-state) repeats nothing: the ledger knows what was "
    "delivered, and the next run lists the last seven days again. It costs this: time not listed for over seven days "
    "is then only known from gap records already written"
)
_NEXT = "Nothing to do: the next run goes on"

OWN_RULES = (
    Rule(
        "subscription-disabled",
        Action.STOP_FEED,
        "the subscription was disabled in the tenant",
        "The subscription of this content type was on, and somebody disabled it in the tenant. If that was not "
        "intended, start it again (POST …/activity/feed/subscriptions/start?contentType=… with a token of the app), "
        "or delete this feed's checkpoint (its blob under m365-state/checkpoints), upon which the next run starts "
        "it. Nothing new is collected until then, and that time is on record as a gap",
    ),
    Rule(
        "subscription-pending",
        Action.WAIT,
        "the subscription was started and is not on yet",
        "The subscription was started less than 15 minutes ago and is not on yet. Nothing to do: Microsoft allows "
        "one start in 15 minutes, so a later run looks again",
    ),
    Rule(
        "budget",
        Action.WAIT,
        "the shared request budget is used up",
        "The request budget of the tenant is used up, or Microsoft asked for a pause. Nothing to do: a later run "
        "goes on. Should it last, ask whether another application reads this tenant",
    ),
    Rule(
        "configuration",
        Action.STOP_FEED,
        "the configuration has problems",
        "The app settings have problems; the message lists each with the setting, what was found and what is "
        "expected. No feed runs until they are mended",
    ),
    Rule(
        "proxy",
        Action.STOP_FEED,
        "a proxy that cannot carry WebSockets",
        "HTTPS_PROXY names a proxy of a kind that cannot carry WebSockets to Event Hubs. Expected is "
        "http://[name:password@]host:port, or the namespace's host in NO_PROXY",
    ),
    Rule(
        "checkpoint-unreadable",
        Action.STOP_FEED,
        "the checkpoint cannot be read",
        f"It cannot be read. {_STATE}",
        kind=StateError,
    ),
    Rule(
        "checkpoint-newer",
        Action.STOP_FEED,
        "the checkpoint is of a newer version",
        f"It was written by a newer version of the collector: deploy that version again. {_STATE}",
        kind=StateError,
    ),
    Rule(
        "lease-stuck",
        Action.RETRY,
        "somebody holds the lease and does nothing",
        "Somebody has held this feed's lease and not moved its checkpoint. A worker that crashed loses its lease "
        "within a minute; break the lease on the checkpoint blob if this goes on (Azure portal, the blob, Break "
        "lease)",
    ),
    Rule(
        "lease-lost",
        Action.CARRY_ON,
        "the lease was lost",
        "The lease was lost; another worker, or the next run, goes on. Should it last, look at storage",
    ),
    Rule(
        "superseded",
        Action.CARRY_ON,
        "another worker goes on with this feed",
        _NEXT,
        kind=RunStopped,
    ),
    Rule("stopped", Action.CARRY_ON, "the run takes no new work", _NEXT, kind=RunStopped),
    Rule("closed", Action.CARRY_ON, "the run has ended", _NEXT, kind=SinkError),
    Rule(
        "contents-failed",
        Action.CARRY_ON,
        "most contents could not be fetched",
        "Most of the contents that were asked for in a run could not be fetched; they stay pending, and later runs ask "
        "again. The run's error says how many, and what the commonest answer means",
    ),
    Rule(
        "deadline",
        Action.CARRY_ON,
        "the run had to end with events in flight",
        "The run had to end before everything was acknowledged. Nothing to do: the next run goes on",
        kind=SinkError,
    ),
    Rule(
        "window-too-old",
        Action.KEEP_PENDING,
        "the time window begins before what the service remembers",
        "The service no longer answers for the time at which this window begins. Nothing to do: the window waits for a "
        "later run, which records as a gap what can no longer be read",
    ),
    Rule(
        "page-refused",
        Action.LIST_AGAIN,
        "the page token was refused",
        "The service refused its own page token. Nothing to do: the window is read on from the last row that came",
    ),
    Rule(
        "paging",
        Action.RETRY,
        "the service does not page through a window",
        "The service does not give the rows of this window page by page. Nothing to do: narrower windows are tried, "
        "and what still cannot be read waits for the next run; nothing passes over it",
    ),
    Rule(
        "empty-content",
        Action.KEEP_PENDING,
        "no records in a content",
        "Microsoft listed a content and gave no records for it, twice. Nothing to do: the next run asks again, and "
        "only then it counts as empty (confirmed-empty in the ledger). In a run in which three contents and half of "
        "all are empty that is taken for an outage of the service, and says nothing of any of them",
        one_content=True,
    ),
    Rule(
        "output-file",
        Action.RETRY,
        "the output file cannot be written",
        "The file given with --sink cannot be written: look at its disk and its permissions",
        kind=SinkError,
    ),
    Rule(
        "internal",
        Action.RETRY,
        "an internal error",
        "A mistake of the collector; the log line before it has the traceback. Nothing is lost, and the next run "
        "tries again: report it, with that traceback",
    ),
)

UNKNOWN_OWN = Rule(
    "",
    Action.RETRY,
    "a failure that this collector does not know; taken for a passing one",
    "A failure that this collector does not know; taken for a passing one and tried again",
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a service cannot be reached: what its error looks like, and what to do.

    Attributes:
        pattern: of the types and texts of the error and its causes.
        failure: what failed, for the list in docs/errors.md.
        text: what is said, in the parentheses of the message.
    """

    pattern: re.Pattern[str]
    failure: str
    text: str


def _reason(pattern: str, failure: str, text: str) -> Reason:
    return Reason(re.compile(pattern), failure, text)


_TUNNEL = r"(?:Tunnel connection failed|CONNECT via proxy status): "

REASONS = (
    _reason(
        _TUNNEL + "407",
        "proxy, HTTP 407",
        "the proxy asks for a name and password: put them into HTTPS_PROXY, http://name:password@host:port",
    ),
    _reason(
        _TUNNEL + r"(?P<status>50[234])",
        "proxy, HTTP 502, 503, 504",
        "the proxy cannot reach it (HTTP {status}): check the endpoint, and the proxy's own way out",
    ),
    _reason(
        _TUNNEL + r"(?P<status>\d{3})",
        "proxy, any other status",
        "the proxy refuses to connect to it (HTTP {status}): have its host allowed there, or name it in NO_PROXY",
    ),
    _reason(
        r"Hostname mismatch|IP address mismatch|hostname .* doesn't match",
        "TLS, another name",
        "its certificate is for another name: check the endpoint",
    ),
    _reason("certificate has expired", "TLS, expired", "its certificate has expired"),
    _reason(
        "CERTIFICATE_VERIFY_FAILED",
        "TLS, unknown authority",
        "nobody we trust signed its certificate: put the authority, perhaps the proxy's own, into M365_CA_FILE",
    ),
    _reason(
        "Unable to connect to proxy|ProxyError",
        "proxy, no answer",
        "the proxy of HTTPS_PROXY does not answer",
    ),
    _reason(
        "gaierror|NameResolutionError|Name or service not known|name resolution",
        "DNS",
        "its host name is not known here: check the endpoint and the DNS of this network",
    ),
    _reason(
        "Connection refused",
        "connect, refused",
        "the connection was refused: check the endpoint and its port",
    ),
    _reason(
        "ConnectTimeout",
        "connect, timeout",
        "no connection within M365_CONNECT_SECONDS: something on the way drops it, mostly a firewall",
    ),
    _reason(
        "ReadTimeout|Read timed out",
        "read, timeout",
        "connected, and no answer within M365_READ_SECONDS",
    ),
    _reason(
        "ConnectionReset|Connection reset|RemoteDisconnected|Remote end closed|Connection aborted|UNEXPECTED_EOF|EOF "
        "occurred",
        "reset",
        "the connection was cut before an answer came",
    ),
)
