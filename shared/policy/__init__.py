"""The error policy: one table from what went wrong to what is done about it and what is said.

This is the one place where codes stand. A code is the service's own (``AF20022``, ``AADSTS7000215``, an AMQP condition,
a storage error code), ``http-<status>`` where an answer has none, or a word of ours; it is what ``error_code`` of a run
row holds. Code that has to decide asks for the rule of an error, code that fails has its error made here: its row alone
says of which class it is. A code that is not in the table is taken for a passing failure, and the message says so.
docs/errors.md is written from this table.
"""

from __future__ import annotations

from shared.errors import (
    AuthError,
    CollectorError,
    ConfigError,
    EventTooLarge,
    NoToken,
    Permanent,
    SinkBusy,
    SinkError,
    SinkRefused,
    Throttled,
    Transient,
)
from shared.policy.azure import HUB_RULES, STORAGE_RULES, UNKNOWN_HUB, UNKNOWN_STORAGE
from shared.policy.entra import ENTRA_RULES, UNKNOWN_ENTRA
from shared.policy.microsoft import API_RULES, UNKNOWN_API
from shared.policy.own import OWN_RULES, REASONS, UNKNOWN_OWN
from shared.policy.rule import Action, Area, Rule
from shared.policy.trace import TRACE_RULES, UNKNOWN_TRACE

__all__ = [
    "REASONS",
    "RULES",
    "TABLE",
    "UNKNOWN",
    "Action",
    "Area",
    "Rule",
    "area_of",
    "error",
    "is_known",
    "kind_of",
    "rule_of",
]

TABLE: dict[Area, tuple[Rule, ...]] = {
    Area.API: API_RULES,
    Area.TRACE: TRACE_RULES,
    Area.ENTRA: ENTRA_RULES,
    Area.HUB: HUB_RULES,
    Area.STORAGE: STORAGE_RULES,
    Area.COLLECTOR: OWN_RULES,
}
"""Every row, by who says so."""

UNKNOWN: dict[Area, Rule] = {
    Area.API: UNKNOWN_API,
    Area.TRACE: UNKNOWN_TRACE,
    Area.ENTRA: UNKNOWN_ENTRA,
    Area.HUB: UNKNOWN_HUB,
    Area.STORAGE: UNKNOWN_STORAGE,
    Area.COLLECTOR: UNKNOWN_OWN,
}
"""What holds for any other code."""

RULES: dict[str, Rule] = {rule.code: rule for rules in TABLE.values() for rule in rules}
_AREAS: dict[str, Area] = {rule.code: area for area, rules in TABLE.items() for rule in rules}
_PREFIXES = (("AADSTS", Area.ENTRA), ("AF", Area.API), ("http-", Area.API))

_KINDS: dict[Action, type[CollectorError]] = {
    Action.RETRY: Transient,
    Action.WAIT: Throttled,
    Action.REFRESH_TOKEN: AuthError,
    Action.STOP_FEED: ConfigError,
}
_KINDS_OF: dict[Area, dict[Action, type[CollectorError]]] = {
    Area.ENTRA: {Action.RETRY: NoToken, Action.STOP_FEED: AuthError},
    Area.HUB: {
        Action.RETRY: SinkError,
        Action.WAIT: SinkBusy,
        Action.CLAIM_CHECK: EventTooLarge,
        Action.STOP_FEED: SinkRefused,
    },
}


def is_known(code: str, area: Area | None = None) -> bool:
    """Whether a code has a row of its own; where an area is given, among those of that area."""
    return code in RULES and (area is None or _AREAS[code] is area)


def area_of(code: str) -> Area:
    """Who says a code; one of no known form is the collector's own."""
    if code in _AREAS:
        return _AREAS[code]
    return next((area for prefix, area in _PREFIXES if code.startswith(prefix)), Area.COLLECTOR)


def rule_of(failure: str | CollectorError, area: Area | None = None) -> Rule:
    """The row of a code or of an error's code; for any other code what holds for those of its area."""
    code = failure if isinstance(failure, str) else failure.code
    return RULES.get(code) or UNKNOWN[area or area_of(code)]


def kind_of(rule: Rule, area: Area) -> type[CollectorError]:
    """The class of a row's error: its own, or the one for its action in its area."""
    return (
        rule.kind or _KINDS_OF.get(area, {}).get(rule.action) or _KINDS.get(rule.action, Permanent)
    )


def error(
    code: str,
    *,
    area: Area | None = None,
    at: str = "",
    detail: str = "",
    text: str = "",
    status: int = 0,
    retry_after: float | None = None,
    answered: bool = False,
) -> CollectorError:
    """The error of a code, of the class that its row says.

    Args:
        code: what went wrong.
        area: who says so; needed where the code may have no row, or is ours and concerns a service of them.
        at: where it went wrong: a host, a connection, a hub, a blob.
        detail: what is known of this one case. Never a token, a secret or a record.
        text: what is said in place of all that, where it says more.
        status: the HTTP status, 0 where there was no answer.
        retry_after: seconds that a service asked for; only a ``Throttled`` keeps them.
        answered: whether the code is what an answer over HTTP says, "" where it says none: its status says the rest.
    """
    area = area or area_of(code)
    code = _meaning(code, status, area) if answered else code
    rule = rule_of(code, area)
    where, why = f"{at}: " if at else "", f" ({detail})" if detail else ""
    message = text or f"{where}{rule.message}{why}"
    log = text or f"{where}{rule.log}{why}"
    kind = kind_of(rule, area)
    if issubclass(kind, Throttled):
        return kind(message, code=code, status=status, log=log, retry_after=retry_after)
    made = kind(message, code=code, status=status, log=log)
    made.harmless = rule.action is Action.CARRY_ON
    return made


def _meaning(code: str, status: int, area: Area) -> str:
    """The code under which an answer stands in the table."""
    # Words in lower case are ours, in every area.
    known = is_known(code, area) and not code.islower()
    if status == 429 and not (known and rule_of(code).action is Action.WAIT):
        return "throttled"
    if known:
        return code
    # A token that is refused is dropped, whatever the answer calls that. Else the code says more than the status, but
    # not where the policy has the same word for what another service says, or we do.
    return f"http-{status}" if status == 401 or not code or is_known(code) else code
