"""The error policy: one row a code, every code that is raised has one, and each row leads to the fix."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import Counter
from http.client import RemoteDisconnected
from pathlib import Path
from socket import gaierror
from ssl import SSLError
from typing import TYPE_CHECKING

import pytest
import requests

from scripts import write_errors
from shared import policy
from shared.errors import (
    AuthError,
    CollectorError,
    ConfigError,
    EventTooLarge,
    NoToken,
    Permanent,
    RunStopped,
    SinkBusy,
    SinkError,
    SinkRefused,
    StateError,
    Throttled,
    Transient,
)
from shared.network import reason_of
from shared.policy import RULES, TABLE, UNKNOWN, Action, Area, Rule
from shared.rows.row import PAGE_REFUSED, PAGING, WINDOW_TOO_OLD
from shared.sources.registry import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path(policy.__file__).resolve().parents[1]
ROWS = [pytest.param(rule, id=code) for code, rule in RULES.items()]
FOR_A_PERSON = (Action.STOP_FEED, Action.REFRESH_TOKEN)
STOPPING = [
    pytest.param(rule, id=code) for code, rule in RULES.items() if rule.action in FOR_A_PERSON
]
PLACES = (
    "Azure portal",
    "Entra admin center",
    "Purview portal",
    "Microsoft 365 admin center",
    "function app, Identity",
    "m365-state",
    "app settings",
    "clock of this machine",
)


def raised() -> Iterator[tuple[str, str]]:
    """Every code that stands in the code itself: given as ``code=``, or to the makers of errors."""
    for path in SHARED.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            given = [each.value for each in node.keywords if each.arg == "code"]
            if ast.unparse(node.func) == "policy.error":
                given.append(node.args[0])
            for value in given:
                for constant in ast.walk(value):
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                        yield path.name, constant.value


def test_no_code_has_two_rows() -> None:
    codes = Counter(rule.code for rules in TABLE.values() for rule in rules)

    assert [code for code, count in codes.items() if count > 1] == []
    assert len(RULES) == len(codes) > 100


def test_every_code_that_the_collector_raises_has_a_row() -> None:
    found = set(raised())

    assert {code for _, code in found} >= {
        "foreign-url",
        "lease-lost",
        "not-records",
        "storage-failed",
    }
    assert [(name, code) for name, code in sorted(found) if code and code not in RULES] == []


def kinds_of(kind: type[CollectorError]) -> Iterator[type[CollectorError]]:
    """A class of errors, and every class that anybody made of it."""
    yield kind
    for each in kind.__subclasses__():
        yield from kinds_of(each)


def is_made(node: ast.Raise | ast.Call, kinds: set[str]) -> bool:
    """Whether an error is made here, by its class or with a code that stands here."""
    if isinstance(node, ast.Raise):
        # Without parentheses its class is all that is named.
        return node.exc is not None and ast.unparse(node.exc).rpartition(".")[2] in kinds
    return ast.unparse(node.func).rpartition(".")[2] in kinds or any(
        each.arg == "code" and isinstance(each.value, ast.Constant) for each in node.keywords
    )


def test_the_table_alone_makes_errors() -> None:
    """An error that is made elsewhere can have no code, or a class that contradicts its code's row."""
    for found in pkgutil.walk_packages([str(SHARED)], "shared."):
        importlib.import_module(found.name)
    kinds = {
        each.__name__
        for each in kinds_of(CollectorError)
        if each.__module__.partition(".")[0] == "shared"
    }
    # Expected by whoever competes for a blob; where nobody does, the table makes an error of it.
    kinds.remove("Conflict")
    made = [
        f"{path.relative_to(SHARED)}:{node.lineno}"
        for path in SHARED.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise | ast.Call)
        and is_made(node, kinds)
        and path.parent.name != "policy"
        and path.name != "errors.py"
    ]
    assert {"ConfigError", "NoToken", "RunStopped", "SinkError"} <= kinds
    assert made == []


ALLOWED: dict[Action, set[type[CollectorError]]] = {
    Action.RETRY: {Transient, NoToken, SinkError},
    Action.WAIT: {Throttled, SinkBusy},
    Action.REFRESH_TOKEN: {AuthError},
    Action.START_SUBSCRIPTION: {Permanent},
    Action.CLAMP_WINDOW: {Permanent},
    Action.LIST_AGAIN: {Permanent},
    Action.KEEP_PENDING: {Permanent},
    Action.DEAD_LETTER: {Permanent},
    Action.CLAIM_CHECK: {EventTooLarge},
    Action.STOP_FEED: {ConfigError, StateError, AuthError, SinkRefused},
    # Of what is there already, in_the_way makes a passing failure.
    Action.CARRY_ON: {Permanent, RunStopped, SinkError, Transient},
}
"""What an action allows an error to be."""


@pytest.mark.parametrize("rule", ROWS)
def test_the_class_of_an_error_is_one_that_its_action_allows(rule: Rule) -> None:
    error = policy.error(rule.code)

    assert type(error) in ALLOWED[rule.action]
    assert type(error) is policy.kind_of(rule, policy.area_of(rule.code))
    assert error.harmless is (rule.action is Action.CARRY_ON)


def test_who_waits_for_time_to_heal_something_does_not_wait_for_a_token() -> None:
    assert not isinstance(policy.error("no-token"), Transient)


def test_every_action_has_rows_and_is_explained() -> None:
    assert {rule.action for rule in RULES.values()} == set(Action) == set(write_errors.ACTIONS)


def test_the_page_of_errors_is_current() -> None:
    text = write_errors.PAGE.read_text(encoding="utf-8")

    assert text == write_errors.page(), "run: python scripts/write_errors.py"


@pytest.mark.parametrize("rule", ROWS)
def test_a_row_says_what_happened_and_what_to_do(rule: Rule) -> None:
    assert rule.log
    assert not rule.log.endswith(".")
    assert not rule.message.endswith(".")
    assert "|" not in rule.log + rule.message, "it would break the table"
    assert "{" not in rule.message


@pytest.mark.parametrize("rule", STOPPING)
def test_what_a_person_must_mend_names_a_setting_or_a_place(rule: Rule) -> None:
    settings = set(re.findall(r"\bM365_[A-Z_]+", rule.message))

    # Each source has an M365_OUTPUT_ of its own.
    assert settings <= {*(each.name for each in SETTINGS), "M365_OUTPUT_"}
    assert settings or any(place in rule.message for place in (*PLACES, "HTTPS_PROXY", "NO_PROXY"))


@pytest.mark.parametrize(
    ("code", "area", "kind"),
    [
        pytest.param("AF99999", None, Transient, id="api"),
        pytest.param("http-418", None, Transient, id="status"),
        pytest.param("AADSTS123456", None, NoToken, id="entra"),
        pytest.param("SomethingNew", Area.STORAGE, Transient, id="storage"),
        pytest.param("something-new", Area.HUB, SinkError, id="hub"),
        pytest.param("something-new", None, Transient, id="anything"),
    ],
)
def test_an_unknown_code_is_retried_as_a_passing_failure_and_said_to_be_unknown(
    code: str, area: Area | None, kind: type[CollectorError]
) -> None:
    error = policy.error(code, area=area, at="here", detail="why")

    assert type(error) is kind
    assert error.code == code
    for said in (str(error), error.log):
        assert "does not know" in said
        assert "taken for a passing" in said
        assert said.startswith("here: ")
        assert said.endswith(" (why)")


@pytest.mark.parametrize("area", list(Area))
def test_whatever_is_unknown_is_retried(area: Area) -> None:
    assert UNKNOWN[area].action is Action.RETRY


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AF50000", Transient),
        ("AF429", Throttled),
        ("http-401", AuthError),
        ("AF20011", ConfigError),
        ("AF20022", Permanent),
        ("AF20055", Permanent),
        ("AADSTS7000215", AuthError),
        ("AuthorizationFailure", ConfigError),
        ("server-busy", SinkError),
        ("storage-unreachable", Transient),
    ],
)
def test_the_action_decides_the_kind_of_an_error(code: str, kind: type[CollectorError]) -> None:
    assert isinstance(policy.error(code), kind)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(requests.ConnectTimeout("x"), "M365_CONNECT_SECONDS", id="connect"),
        pytest.param(requests.ReadTimeout("x"), "M365_READ_SECONDS", id="read"),
        pytest.param(ConnectionResetError(104, "x"), "was cut before an answer", id="reset"),
        pytest.param(RemoteDisconnected("x"), "was cut before an answer", id="closed"),
        pytest.param(ConnectionRefusedError(111, "Connection refused"), "its port", id="refused"),
        pytest.param(gaierror(-2, "x"), "DNS", id="dns"),
        pytest.param(
            SSLError(1, "CERTIFICATE_VERIFY_FAILED"), "M365_CA_FILE", id="unknown-authority"
        ),
        pytest.param(OSError("Tunnel connection failed: 403 x"), "NO_PROXY", id="proxy"),
        pytest.param(OSError("Tunnel connection failed: 407 x"), "HTTPS_PROXY", id="proxy-login"),
        pytest.param(OSError("Tunnel connection failed: 502 x"), "HTTP 502", id="proxy-lost"),
        pytest.param(ValueError("x"), "", id="none"),
    ],
)
def test_a_failure_of_the_way_there_is_named_with_what_to_look_at(
    error: Exception, words: str
) -> None:
    outer = RuntimeError("quoted text")
    outer.__cause__ = error

    found = reason_of(outer)

    assert words in found
    assert bool(found) == bool(words)
    assert "quoted" not in found


@pytest.mark.parametrize(
    ("code", "action"),
    [
        pytest.param(WINDOW_TOO_OLD, Action.KEEP_PENDING, id="waits-for-a-later-run"),
        pytest.param(PAGE_REFUSED, Action.LIST_AGAIN, id="begun-anew"),
        pytest.param(PAGING, Action.RETRY, id="tried-narrower"),
    ],
)
def test_what_the_engine_of_rows_says_holds_for_every_source(code: str, action: Action) -> None:
    rule = RULES[code]

    assert policy.area_of(code) is Area.COLLECTOR
    assert rule.action is action
    assert not re.search(r"trace|Reporting|Graph|\d", rule.message + rule.log)


@pytest.mark.parametrize("rule", ROWS)
def test_only_an_api_can_have_the_last_word_about_a_content(rule: Rule) -> None:
    """What Entra, storage, the hub, the pace or the way there say is nothing about the content."""
    if rule.loss:
        assert policy.area_of(rule.code) in (Area.API, Area.TRACE)
        assert rule.action is Action.KEEP_PENDING
