"""Settings: every problem at once, named so that a person can mend it, and no secret in any message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.app import tuning_of
from shared.config.clouds import AZURE_CLOUDS, CLOUDS
from shared.config.settings import Settings
from shared.errors import ConfigError
from shared.network import Network
from shared.sources.audit.settings import audit_of
from shared.sources.message_trace.settings import message_trace_of
from shared.sources.registry import AUDIT_HUB, SETTINGS, SOURCES, load
from shared.state.transport import transport_options
from tests.certificate import certificate

if TYPE_CHECKING:
    from local.certs import Certs

TENANT = "3c5158d0-5962-5090-9c19-b6852a206f1d"
OTHER = "64bcde50-1111-5090-9c19-b6852a206f1d"
CLIENT = "0464675c-a6f7-5d20-927c-335cdd182f3d"
SECRET = "Q8~canary~of~the~secret-value_.x"
KEY = "Y2FuYXJ5"
HUBS = f"Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey={KEY}="
STORAGE = f"DefaultEndpointsProtocol=https;AccountName=abc;AccountKey={KEY}=="

EVERY_SOURCE = tuple(each.name for each in SOURCES)

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
    certified = Recording({**GOOD, "M365_CLIENT_SECRET": "", "M365_CERTIFICATE": certificate().pem})
    load(certified)

    # The schedules are read by the platform, for the triggers.
    schedules = {each.name for each in SETTINGS if each.name.endswith("_SCHEDULE")}
    assert len(schedules) == len(SOURCES)
    assert values.asked | certified.asked == {each.name for each in SETTINGS} - schedules


def test_the_table_names_each_setting_once_and_says_what_it_is_for() -> None:
    names = [each.name for each in SETTINGS]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Z0-9_]+", name) for name in names)
    assert all(each.help.endswith((".", ").")) for each in SETTINGS)
    assert {each.name for each in SETTINGS if each.secret} == {
        "M365_CERTIFICATE",
        "M365_CERTIFICATE_PASSWORD",
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
    assert (one.name, one.tenant_id) == ("default", TENANT)
    assert one.sources == EVERY_SOURCE
    assert one.login == "https://login.microsoftonline.com"
    assert one.known_login
    assert found.hubs == {each.name: each.hub for each in SOURCES}
    audit = {hub for source, hub in found.hubs.items() if source.startswith(("Audit.", "DLP."))}
    assert audit == {AUDIT_HUB}
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
            "M365_EVENTHUB_NAMESPACE": "contoso hubs",
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
        "app setting M365_IDENTITY_CLIENT_ID: not set",
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


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param("abc8Q~verysecretvalue.of-an-app_registration", id="client-secret"),
        pytest.param("dGhpcyBpcyBub3QgYSBzdG9yYWdlIGtleSBhdCBhbGwgMDEyMzQ1Njc4OQ==", id="key"),
        pytest.param("0c94b1f4a9c56b0bcd5313ac4f0e9a4c0c94b1f4", id="hexadecimal"),
        pytest.param("https://user:hunter2@example.test/", id="password-in-an-address"),
    ],
)
@pytest.mark.parametrize("name", [each.name for each in SETTINGS])
def test_a_secret_in_the_place_of_another_setting_is_not_shown(name: str, secret: str) -> None:
    try:
        load({**GOOD, name: secret})
    except ConfigError as error:
        assert secret not in str(error)  # noqa: PT017
        assert "hunter2" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "name",
    ["M365_TENANT_ID", "M365_CLIENT_ID", "M365_PUBLISHER_ID", "M365_IDENTITY_CLIENT_ID"],
)
def test_of_what_should_be_a_guid_only_the_length_is_shown(name: str) -> None:
    (line,) = problems({**GOOD, name: "hunter2"})

    assert line.startswith(f"app setting {name}: found 7 characters that are no GUID; expected ")
    assert "hunter2" not in line


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
    assert found.connections[0].credential.secret == SECRET


# -- clouds


@pytest.mark.parametrize("name", list(CLOUDS))
def test_a_cloud_names_hosts_that_belong_together(name: str) -> None:
    found = load({**GOOD, "M365_CLOUD": name.upper()})

    (one,) = found.connections
    cloud = CLOUDS[name]
    assert one.login == cloud.login
    assert audit_of(one).endpoint == cloud.management
    assert one.known_login
    assert found.storage_blob_endpoint.endswith(f".blob.{AZURE_CLOUDS[cloud.azure].storage_suffix}")


def test_the_login_can_be_another() -> None:
    (one,) = load({**GOOD, "M365_LOGIN_ENDPOINT": "https://login.example/"}).connections

    assert (one.login, one.known_login) == ("https://login.example", False)


def test_a_cloud_without_a_preset_is_reached_by_overrides_alone() -> None:
    values = {
        "M365_TENANT_ID": TENANT,
        "M365_CLIENT_ID": CLIENT,
        "M365_IDENTITY_CLIENT_ID": OTHER,
        "M365_AZURE_CLOUD": "azure-china",
        "M365_LOGIN_ENDPOINT": "https://login.partner.microsoftonline.cn",
        "M365_MANAGEMENT_ENDPOINT": "https://manage.office365.cn",
        "M365_GRAPH_ENDPOINT": "https://microsoftgraph.chinacloudapi.cn",
        "M365_EVENTHUB_NAMESPACE": "contoso",
        "M365_STORAGE_ACCOUNT": "contosostate",
    }

    found = load(values)

    (one,) = found.connections
    assert one.known_login
    assert audit_of(one).scope == "https://manage.office365.cn/.default"
    assert one.credential.audience == "api://AzureADTokenExchangeChina"
    assert found.eventhub_host == "contoso.servicebus.chinacloudapi.cn"
    assert found.storage_blob_endpoint == "https://contosostate.blob.core.chinacloudapi.cn"
    assert message_trace_of(one).scope == "https://microsoftgraph.chinacloudapi.cn/.default"
    assert not message_trace_of(one).offered
    assert not re.search(r"office\.com|microsoft(online)?\.com|windows\.net", repr(found))
    # The same by connection, beside a tenant of another cloud.
    beside = connection(
        login_endpoint=values["M365_LOGIN_ENDPOINT"],
        management_endpoint=values["M365_MANAGEMENT_ENDPOINT"],
    )
    two, other = load(
        many(beside, connection(name="b", tenant_id=OTHER), M365_AZURE_CLOUD="azure-china")
    ).connections
    assert (two.login, audit_of(two)) == (one.login, audit_of(one))
    assert audit_of(other).endpoint == CLOUDS["worldwide"].management


@pytest.mark.parametrize("name", list(AZURE_CLOUDS))
def test_the_name_of_a_namespace_is_completed_as_the_azure_cloud_wants_it(name: str) -> None:
    suffix = AZURE_CLOUDS[name].eventhub_suffix
    values = {**GOOD, "M365_AZURE_CLOUD": name}

    assert load({**values, "M365_EVENTHUB_NAMESPACE": "contoso"}).eventhub_host == (
        f"contoso.{suffix}"
    )
    assert load(values).eventhub_host == "contoso.servicebus.windows.net"


def test_hub_and_storage_can_be_elsewhere() -> None:
    values = {
        **GOOD,
        "M365_STORAGE_ACCOUNT": "",
        "M365_EVENTHUB_TRANSPORT": "WebSocket",
        "M365_EVENTHUB_ENDPOINT": "relay.example:8443/",
        "M365_STORAGE_BLOB_ENDPOINT": "https://blobs.example/",
        "M365_STORAGE_TABLE_ENDPOINT": "https://tables.example",
    }

    found = load(values)

    assert (found.eventhub_transport, found.eventhub_endpoint) == (
        "websocket",
        "sb://relay.example:8443",
    )
    assert found.eventhub_host == "contoso.servicebus.windows.net"
    assert found.storage_blob_endpoint == "https://blobs.example"
    assert found.storage_table_endpoint == "https://tables.example"


def test_the_hubs_host_is_found_in_a_connection_string_too() -> None:
    values = {**GOOD, "M365_EVENTHUB_NAMESPACE": "", "M365_EVENTHUB_CONNECTION_STRING": HUBS}
    assert load(values).eventhub_host == "n.servicebus.windows.net"


def test_the_way_out_is_one_for_all(certs: Certs) -> None:
    found = load(
        {
            **GOOD,
            "M365_CA_FILE": str(certs.ca_file),
            "M365_CONNECT_SECONDS": "4",
            "M365_READ_SECONDS": "8",
            "M365_TOTAL_SECONDS": "60",
        }
    )

    expected = Network(ca_file=str(certs.ca_file), connect=4, read=8, total=60)
    assert found.network == expected
    assert load(GOOD).network == Network()
    limits = tuning_of(found).limits
    assert (limits.connect, limits.read, limits.total) == (4, 8, 60)
    options = transport_options(10, found.network)
    assert (options["connection_timeout"], options["read_timeout"]) == (4, 8)
    assert options["connection_verify"] == str(certs.ca_file)
    # A lease does not wait for a patient network.
    assert transport_options(2, found.network)["read_timeout"] == 2
    token = found.network.credential_options()
    assert (token["connection_timeout"], token["read_timeout"]) == (4, 8)


def test_a_token_is_not_waited_for_past_the_end_of_a_run_however_patient_the_network() -> None:
    token = Network(connect=40, read=600).credential_options()

    # The credential asks three times.
    assert 3 * (token["connection_timeout"] + token["read_timeout"]) <= 60


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("M365_EVENTHUB_TRANSPORT", "http", "one of amqp, websocket", id="transport"),
        pytest.param("M365_EVENTHUB_ENDPOINT", "https://x/y", "without a path", id="relay"),
        pytest.param("M365_STORAGE_BLOB_ENDPOINT", "http://x", "an https:// URL", id="blobs"),
        pytest.param("M365_STORAGE_TABLE_ENDPOINT", "x", "an https:// URL", id="tables"),
        pytest.param("M365_CONNECT_SECONDS", "41", "from 0.1 to 40", id="connect"),
        pytest.param("M365_READ_SECONDS", "soon", "from 0.1 to 600", id="read"),
        pytest.param("M365_TOTAL_SECONDS", "0", "from 1 to 3600", id="total"),
        pytest.param("M365_CA_FILE", "/none.pem", "No such file", id="no-file"),
        pytest.param("M365_CA_FILE", __file__, "no certificates in it", id="no-certificates"),
    ],
)
def test_a_mistake_in_the_network_is_named(name: str, text: str, expected: str) -> None:
    (problem,) = problems({**GOOD, name: text})
    assert problem.startswith(f"app setting {name}: found")
    assert expected in problem


def test_an_account_is_needed_where_an_endpoint_is_missing() -> None:
    values = {
        **GOOD,
        "M365_STORAGE_ACCOUNT": "",
        "M365_STORAGE_BLOB_ENDPOINT": "https://blobs.example",
    }
    (problem,) = problems(values)
    assert problem.startswith("app setting M365_STORAGE_ACCOUNT: not set")


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
    assert (one.name, one.sources, one.credential.secret) == (
        "contoso",
        ("Audit.Exchange", "DLP.All"),
        SECRET,
    )
    assert (two.tenant_id, audit_of(two).endpoint, two.credential.secret) == (
        OTHER,
        CLOUDS["gcc-high"].management,
        "another",
    )
    assert two.sources == EVERY_SOURCE
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


@pytest.mark.parametrize(
    "connections",
    [
        pytest.param([connection()], id="good-connections"),
        pytest.param("torn", id="torn-connections"),
    ],
)
def test_each_plain_setting_that_many_connections_would_overrule_is_refused(
    connections: object,
) -> None:
    plain = {
        "M365_TENANT_ID": TENANT,
        "M365_CLIENT_ID": CLIENT,
        "M365_CREDENTIAL": "secret",
        "M365_CLIENT_SECRET": SECRET,
        "M365_CERTIFICATE": SECRET,
        "M365_CERTIFICATE_PASSWORD": SECRET,
        "M365_CREDENTIAL_EXPIRES": "2027-01-31",
        "M365_CONNECTION_NAME": "contoso",
        "M365_SOURCES": "Audit.Exchange",
        "M365_LOGIN_ENDPOINT": "https://login.example",
        "M365_PUBLISHER_ID": TENANT,
        "M365_MANAGEMENT_ENDPOINT": "https://manage.example",
        "M365_MANAGEMENT_SCOPE": "https://manage.example/.default",
        "M365_MESSAGE_TRACE_API": "reporting",
        "M365_MESSAGE_TRACE_BACKFILL_DAYS": "30",
        "M365_MESSAGE_TRACE_DETAILS": "failed",
        "M365_GRAPH_ENDPOINT": "https://graph.example",
        "M365_GRAPH_SCOPE": "https://graph.example/.default",
        "M365_REPORTING_ENDPOINT": "https://reports.example",
        "M365_REPORTING_SCOPE": "https://reports.example/.default",
    }
    text = connections if isinstance(connections, str) else json.dumps(connections)

    found = problems(many(**plain, M365_CONNECTIONS=text))

    assert [line.split(";")[0] for line in found if "not JSON" not in line] == [
        f"app setting {name}: set together with M365_CONNECTIONS" for name in plain
    ]


def test_plain_settings_that_say_nothing_of_their_own_may_stand_beside_many_connections() -> None:
    said = {each.name: each.default for each in SETTINGS if each.name != "M365_CONNECTIONS"}
    named = connection(client_secret_setting="M365_CLIENT_SECRET")

    found = load(
        {
            **said,
            **many(named),
            "M365_TENANT_ID": " ",
            "M365_CREDENTIAL": "federated",
            "M365_CLIENT_SECRET": SECRET,
        }
    )

    (one,) = found.connections
    assert (one.credential.kind, one.credential.secret) == ("secret", SECRET)


# -- credentials

IDENTITY = "dd534708-148b-5011-a76f-4e6fba33266e"
BARE = {**GOOD, "M365_CLIENT_SECRET": ""}


def test_without_a_secret_or_a_certificate_the_app_federates_its_identity() -> None:
    (one,) = load({**BARE, "M365_IDENTITY_CLIENT_ID": IDENTITY}).connections

    assert (one.credential.kind, one.credential.identity) == ("federated", IDENTITY)
    assert one.credential.audience == "api://AzureADTokenExchange"


@pytest.mark.parametrize("form", ["pem", "escaped_pem", "pfx"])
def test_a_certificate_is_read_in_each_form_and_says_when_it_expires(form: str) -> None:
    made = certificate(password="canary-password" if form == "pfx" else "")
    values = {
        **BARE,
        "M365_CERTIFICATE": getattr(made, form),
        "M365_CERTIFICATE_PASSWORD": made.password,
    }

    found = load(values)

    (one,) = found.connections
    assert (one.credential.kind, one.credential.expires) == ("certificate", made.expires)
    assert made.pem not in repr(found)
    assert "canary-password" not in repr(found)


def test_a_managed_identity_with_grants_of_its_own_needs_no_app_registration() -> None:
    (one,) = load({**BARE, "M365_CLIENT_ID": "", "M365_CREDENTIAL": "managed-identity"}).connections

    assert (one.credential.kind, one.client_id) == ("managed-identity", "")


def test_the_end_of_a_secret_is_known_where_it_is_said() -> None:
    (one,) = load({**GOOD, "M365_CREDENTIAL_EXPIRES": "2027-01-31"}).connections

    assert one.credential.expires is not None
    assert one.credential.expires.isoformat() == "2027-01-31T00:00:00+00:00"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"M365_CERTIFICATE": "x"}, "M365_CREDENTIAL: not set, while both", id="secret-and-cert"
        ),
        pytest.param(
            {"M365_CREDENTIAL": "password"}, "one of federated, certificate", id="unknown-kind"
        ),
        pytest.param(
            {"M365_CREDENTIAL": "federated"}, "only a user-assigned one", id="no-identity"
        ),
        pytest.param(
            {
                "M365_CREDENTIAL": "federated",
                "M365_IDENTITY_CLIENT_ID": IDENTITY,
                "M365_CLOUD": "gcc-high",
                "M365_AZURE_CLOUD": "azure",
            },
            "no identity of another",
            id="federated-across-clouds",
        ),
        pytest.param(
            {"M365_CREDENTIAL": "certificate"}, "M365_CERTIFICATE: not set", id="no-certificate"
        ),
        pytest.param(
            {"M365_CREDENTIAL": "certificate", "M365_CERTIFICATE": "%%%"},
            "neither PEM nor the base64",
            id="not-a-certificate",
        ),
        pytest.param(
            {"M365_CREDENTIAL": "certificate", "M365_CERTIFICATE": certificate().public_pem},
            "without a private key",
            id="public-part-alone",
        ),
        pytest.param(
            {
                "M365_CREDENTIAL": "certificate",
                "M365_CERTIFICATE": certificate(password="right").pfx,
                "M365_CERTIFICATE_PASSWORD": "wrong",
            },
            "is its password right?",
            id="wrong-password",
        ),
        pytest.param(
            {"M365_CREDENTIAL_EXPIRES": "soon"}, "a date, such as", id="expires-is-no-date"
        ),
        pytest.param({"M365_AZURE_CLOUD": "aws"}, "M365_AZURE_CLOUD", id="unknown-azure-cloud"),
    ],
)
def test_a_credential_that_cannot_work_is_refused_by_name(
    changes: dict[str, str], expected: str
) -> None:
    found = problems({**GOOD, **changes})

    assert any(expected in line for line in found), found
    assert not any(SECRET in line or "-----" in line for line in found)


def test_the_azure_cloud_is_the_one_beside_the_tenant_unless_it_is_said() -> None:
    beside = load({**GOOD, "M365_CLOUD": "dod"})
    apart = load({**GOOD, "M365_CLOUD": "dod", "M365_AZURE_CLOUD": "azure"})

    assert beside.storage_blob_endpoint == "https://contosostate.blob.core.usgovcloudapi.net"
    assert apart.storage_blob_endpoint == "https://contosostate.blob.core.windows.net"
