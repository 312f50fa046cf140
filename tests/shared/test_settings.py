"""Settings: every problem at once, named so that a person can mend it, and no secret in any message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clouds import CLOUDS
from shared.errors import ConfigError
from shared.settings import DEFAULT_HUB, SETTINGS, SOURCES, Settings, load

TENANT = "3c5158d0-5962-5090-9c19-b6852a206f1d"
OTHER = "64bcde50-1111-5090-9c19-b6852a206f1d"
CLIENT = "0464675c-a6f7-5d20-927c-335cdd182f3d"
SECRET = "Q8~canary~of~the~secret-value_.x"
KEY = "Y2FuYXJ5"
HUBS = f"Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey={KEY}="
STORAGE = f"DefaultEndpointsProtocol=https;AccountName=abc;AccountKey={KEY}=="

GOOD = {
    "M365_TENANT_ID": TENANT,
    "M365_CLIENT_ID": CLIENT,
    "M365_CLIENT_SECRET": SECRET,
    "M365_EVENTHUB_NAMESPACE": "contoso.servicebus.windows.net",
    "M365_STORAGE_ACCOUNT": "contosostate",
}
MANY = {name: text for name, text in GOOD.items() if "_ID" not in name and "SECRET" not in name}


def connection(**fields: Any) -> dict[str, Any]:
    return {
        "name": "contoso",
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_secret_setting": "CONTOSO_SECRET",
        **fields,
    }


def many(*connections: object, **more: str) -> dict[str, str]:
    return {
        **MANY,
        "CONTOSO_SECRET": SECRET,
        "M365_CONNECTIONS": json.dumps(connections),
        **more,
    }


def problems(values: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(values)
    text = str(caught.value)
    assert SECRET not in text
    assert KEY not in text
    assert caught.value.code == "configuration"
    head, *rest = text.splitlines()
    assert head.startswith(f"the configuration has {len(rest)} problem")
    return [line.removeprefix("  - ") for line in rest]


class Recording(Mapping[str, str]):
    """Settings that remember what was asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("settings are asked for by name")

    def __len__(self) -> int:
        raise AssertionError("settings are asked for by name")


# -- the table


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="plain"),
        pytest.param({"M365_CONNECTIONS": json.dumps([connection()])}, id="many"),
    ],
)
def test_every_setting_that_is_read_is_in_the_table(extra: dict[str, str]) -> None:
    values = Recording({**GOOD, "CONTOSO_SECRET": SECRET, **extra})
    try:
        load(values)
    except ConfigError:
        assert extra

    assert values.asked - {"CONTOSO_SECRET"} <= {each.name for each in SETTINGS}


def test_every_setting_of_the_table_is_read() -> None:
    values = Recording(dict(GOOD))
    load(values)

    # The schedules are read by the platform, for the triggers.
    schedules = {each.name for each in SETTINGS if each.name.endswith("_SCHEDULE")}
    assert len(schedules) == len(SOURCES)
    assert values.asked == {each.name for each in SETTINGS} - schedules


def test_the_table_names_each_setting_once_and_says_what_it_is_for() -> None:
    names = [each.name for each in SETTINGS]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Z0-9_]+", name) for name in names)
    assert all(each.help.endswith((".", ").")) for each in SETTINGS)
    assert {each.name for each in SETTINGS if each.secret} == {
        "M365_CLIENT_SECRET",
        "M365_EVENTHUB_CONNECTION_STRING",
        "M365_STORAGE_CONNECTION_STRING",
    }


def test_defaults_are_those_of_the_table() -> None:
    spelt_out = {each.name: each.default for each in SETTINGS if each.default}

    assert load(GOOD) == load({**spelt_out, **GOOD})
    assert load(GOOD) == load({**{each.name: " " for each in SETTINGS}, **GOOD})


def test_the_least_that_must_be_set_is_enough() -> None:
    found = load(GOOD)

    (one,) = found.connections
    assert (one.name, one.tenant_id, one.publisher_id) == ("default", TENANT, TENANT)
    assert one.sources == SOURCES
    assert one.login == "https://login.microsoftonline.com"
    assert one.management == "https://manage.office.com"
    assert one.scope == "https://manage.office.com/.default"
    assert one.known_login
    assert set(found.hubs.values()) == {DEFAULT_HUB}
    assert found.run_seconds == 960
    assert found.bytes_in_flight == 48_000_000


# -- problems


def test_all_problems_are_reported_together_with_name_finding_and_expectation() -> None:
    found = problems(
        {
            "M365_TENANT_ID": "contoso.onmicrosoft.com",
            "M365_CLIENT_SECRET": SECRET,
            "M365_CLOUD": "moon",
            "M365_CONNECTION_NAME": "Contoso Ltd",
            "M365_SOURCES": "Audit.Exchange,Audit.Everything",
            "M365_PUBLISHER_ID": "me",
            "M365_LOGIN_ENDPOINT": "login.example",
            "M365_MANAGEMENT_ENDPOINT": "http://manage.example",
            "M365_EVENTHUB_NAMESPACE": "contoso",
            "M365_OUTPUT_DLP_ALL": "a/b",
            "M365_PARTITION_KEY": "user",
            "M365_STORAGE_ACCOUNT": "Contoso_State",
            "M365_IDENTITY_CLIENT_ID": "x",
            "M365_REQUESTS_PER_MINUTE": "many",
            "M365_RUN_SECONDS": "0",
            "M365_RETRY_SECONDS": "-1",
            "M365_FETCH_THREADS": "1000",
            "M365_MEGABYTES_IN_FLIGHT": "nan",
        }
    )

    assert {line.split(":")[0] for line in found} == {
        f"app setting {name}"
        for name in (
            "M365_TENANT_ID",
            "M365_CLIENT_ID",
            "M365_CLOUD",
            "M365_CONNECTION_NAME",
            "M365_SOURCES",
            "M365_PUBLISHER_ID",
            "M365_LOGIN_ENDPOINT",
            "M365_MANAGEMENT_ENDPOINT",
            "M365_EVENTHUB_NAMESPACE",
            "M365_OUTPUT_DLP_ALL",
            "M365_PARTITION_KEY",
            "M365_STORAGE_ACCOUNT",
            "M365_IDENTITY_CLIENT_ID",
            "M365_REQUESTS_PER_MINUTE",
            "M365_RUN_SECONDS",
            "M365_RETRY_SECONDS",
            "M365_FETCH_THREADS",
            "M365_MEGABYTES_IN_FLIGHT",
        )
    }
    assert all(re.search(r": (found .*|not set); expected .", line) for line in found)


def test_an_empty_configuration_says_what_is_needed() -> None:
    assert [line.split(";")[0] for line in problems({})] == [
        "app setting M365_TENANT_ID: not set",
        "app setting M365_CLIENT_ID: not set",
        "app setting M365_CLIENT_SECRET: not set",
        "app setting M365_EVENTHUB_NAMESPACE: not set",
        "app setting M365_STORAGE_ACCOUNT: not set",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"M365_SOURCES": ","}, "M365_SOURCES: names no source", id="no-source"),
        pytest.param(
            {"M365_CLIENT_SECRET": "@Microsoft.KeyVault(SecretUri=https://v/secrets/x)"},
            "Key Vault Secrets User",
            id="unresolved-reference",
        ),
        pytest.param(
            {"M365_EVENTHUB_CONNECTION_STRING": SECRET}, "Endpoint=sb://", id="no-hub-string"
        ),
        pytest.param(
            {"M365_STORAGE_CONNECTION_STRING": SECRET},
            "M365_STORAGE_CONNECTION_STRING: found a value without",
            id="no-storage-string",
        ),
        pytest.param(
            {"M365_EVENTHUB_NAMESPACE": HUBS}, "(not shown)", id="hub-string-as-namespace"
        ),
        pytest.param({"M365_STORAGE_ACCOUNT": STORAGE}, "(not shown)", id="string-as-account"),
        pytest.param(
            {"M365_LOGIN_ENDPOINT": "https://a:b@login.example"},
            "M365_LOGIN_ENDPOINT",
            id="user-information",
        ),
        pytest.param({"M365_FETCH_THREADS": "inf"}, "from 1 to 64", id="infinite"),
    ],
)
def test_one_problem_is_named(changes: dict[str, str], expected: str) -> None:
    (line,) = problems({**GOOD, **changes})

    assert expected in line


@given(
    st.dictionaries(
        st.sampled_from([each.name for each in SETTINGS]), st.text(max_size=30), max_size=12
    )
)
@settings(max_examples=100)
def test_no_value_leads_to_anything_but_settings_or_a_config_error(values: dict[str, str]) -> None:
    try:
        assert isinstance(load({**GOOD, **values}), Settings)
    except ConfigError as error:
        assert SECRET not in str(error)  # noqa: PT017


def test_no_secret_is_in_a_repr() -> None:
    found = load(
        {**GOOD, "M365_EVENTHUB_CONNECTION_STRING": HUBS, "M365_STORAGE_CONNECTION_STRING": STORAGE}
    )

    assert SECRET not in repr(found)
    assert KEY not in repr(found)
    assert found.connections[0].client_secret == SECRET


# -- clouds


@pytest.mark.parametrize("name", list(CLOUDS))
def test_a_cloud_names_hosts_that_belong_together(name: str) -> None:
    found = load({**GOOD, "M365_CLOUD": name.upper()})

    (one,) = found.connections
    cloud = CLOUDS[name]
    assert (one.login, one.management) == (cloud.login, cloud.management)
    assert one.scope == f"{cloud.management}/.default"
    assert one.known_login
    assert found.storage_suffix == cloud.storage_suffix


def test_every_endpoint_can_be_another() -> None:
    found = load(
        {
            **GOOD,
            "M365_LOGIN_ENDPOINT": "https://login.example/",
            "M365_MANAGEMENT_ENDPOINT": "https://manage.example:8443/",
            "M365_MANAGEMENT_SCOPE": "api://x/.default",
            "M365_PUBLISHER_ID": OTHER.upper(),
        }
    )

    (one,) = found.connections
    assert (one.login, one.known_login) == ("https://login.example", False)
    assert one.management == "https://manage.example:8443"
    assert (one.scope, one.publisher_id) == ("api://x/.default", OTHER)


# -- many connections


def test_many_connections_keep_their_own_values() -> None:
    found = load(
        many(
            connection(sources=["DLP.All", "audit.exchange"]),
            connection(
                name="gov", tenant_id=OTHER.upper(), cloud="gcc-high", client_secret_setting="B"
            ),
            B="another",
        )
    )

    one, two = found.connections
    assert (one.name, one.sources, one.client_secret) == (
        "contoso",
        ("Audit.Exchange", "DLP.All"),
        SECRET,
    )
    assert (two.tenant_id, two.management, two.client_secret) == (
        OTHER,
        CLOUDS["gcc-high"].management,
        "another",
    )
    assert two.sources == SOURCES
    assert found.connections_for("DLP.All") == (one, two)
    assert found.connections_for("Audit.General") == (two,)


@pytest.mark.parametrize(
    ("connections", "expected"),
    [
        pytest.param("not json", "not JSON", id="not-json"),
        pytest.param("{}", "not a list of objects", id="an-object"),
        pytest.param("[]", "at least one", id="empty"),
        pytest.param("[1]", "not a list of objects", id="numbers"),
        pytest.param([connection(name="")], "[0].name: found ''", id="no-name"),
        pytest.param([connection(name="x" * 41)], "[0].name: found", id="long-name"),
        pytest.param(
            [connection(tenant_id=17)], "[0].tenant_id: found a value of type int", id="number"
        ),
        pytest.param([connection(tenant_id="")], "[0].tenant_id: not set", id="no-tenant"),
        pytest.param([connection(sources=[])], "[0].sources: names no source", id="no-sources"),
        pytest.param([connection(sources="DLP.All")], "a list of sources", id="sources-a-text"),
        pytest.param([connection(cloud="moon")], "[0].cloud: found 'moon'", id="cloud"),
        pytest.param([connection(tenant="x")], "[0].tenant: not a key", id="unknown-key"),
        pytest.param(
            [connection(client_secret=SECRET)], "[0].client_secret: not a key", id="secret-itself"
        ),
        pytest.param(
            [connection(client_secret_setting=SECRET)],
            "[0].client_secret_setting: found what cannot be",
            id="secret-as-its-setting",
        ),
        pytest.param(
            [connection(client_secret_setting=[SECRET])],
            "[0].client_secret_setting: found a value of type list",
            id="secret-in-a-list",
        ),
        pytest.param(
            [connection(client_secret_setting="MISSING")],
            "app setting MISSING: not set",
            id="missing-secret",
        ),
        pytest.param(
            [connection(), connection(tenant_id=OTHER)],
            "two connections with the name 'contoso'",
            id="one-name-twice",
        ),
        pytest.param(
            [connection(sources=["DLP.All"]), connection(name="b", sources=["DLP.All"])],
            f"two connections with the tenant id and source (they key the state) '{TENANT}/DLP.All'",
            id="one-feed-twice",
        ),
    ],
)
def test_a_problem_of_a_connection_is_named_with_its_place(
    connections: object, expected: str
) -> None:
    text = connections if isinstance(connections, str) else json.dumps(connections)

    found = problems(many(M365_CONNECTIONS=text))

    assert any(expected in line and "M365_CONNECTIONS" in line for line in found) or any(
        expected in line for line in found if "MISSING" in line
    )


def test_one_tenant_may_be_split_between_connections_by_source() -> None:
    found = load(
        many(connection(sources=["DLP.All"]), connection(name="b", sources=["Audit.Exchange"]))
    )

    assert len(found.connections) == 2


def test_a_missing_tenant_id_is_not_called_a_duplicate() -> None:
    found = problems(many(connection(tenant_id=""), connection(name="b", tenant_id="")))

    assert [line.split(":")[0] for line in found] == [
        "app setting M365_CONNECTIONS[0].tenant_id",
        "app setting M365_CONNECTIONS[1].tenant_id",
    ]


def test_plain_settings_beside_many_connections_are_refused() -> None:
    found = problems(many(connection(), M365_TENANT_ID=TENANT, M365_CLIENT_ID=CLIENT))

    assert [line.split(";")[0] for line in found] == [
        "app setting M365_TENANT_ID: set together with M365_CONNECTIONS",
        "app setting M365_CLIENT_ID: set together with M365_CONNECTIONS",
    ]
