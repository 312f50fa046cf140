"""The settings of the audit sources: one API for all five, and a connection says once where, as whom and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from shared.app import tuning_of
from shared.config.clouds import CLOUDS
from shared.sources.audit.feed import management
from shared.sources.audit.settings import AUDIT, Audit, audit_of
from shared.sources.clients import Apis
from shared.sources.registry import SOURCES, load
from shared.stop import Stop
from tests.config.test_settings import GOOD, OTHER, TENANT, connection, many, problems
from tests.scripted import Service, Waits, asker

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.config.connections import Connection
    from shared.service.asking import Asker
    from shared.service.budget import Budget
    from shared.state.account import Storage
    from shared.times import ServiceClock

AUDITED = [each.name for each in SOURCES if each.name != "MessageTrace"]


def audit(**more: str) -> Audit:
    (one,) = load({**GOOD, **more}).connections
    return audit_of(one)


class Asking(Apis):
    """Clients that ask a service at hand, and remember for what they were made."""

    def __init__(self, **more: str) -> None:
        settings = load({**GOOD, **more})
        super().__init__(settings, tuning_of(settings), cast("Storage", None))
        self.made: tuple[str, str] = ("", "")
        self.service = Service("https://manage.office.com")

    def asker(
        self, connection: Connection, root: str, scope: str, budget: Budget, clock: ServiceClock
    ) -> Callable[[Stop], Asker]:
        self.made = (root, scope)
        return lambda stop: asker(self.service, Waits())


def test_the_cloud_says_where_and_the_tenant_as_whom() -> None:
    assert audit() == Audit(
        endpoint="https://manage.office.com",
        scope="https://manage.office.com/.default",
        publisher_id="",
        requests=1600,
    )


@pytest.mark.parametrize("name", list(CLOUDS))
def test_every_cloud_has_a_host_of_its_own_from_which_the_scope_follows(name: str) -> None:
    found = audit(M365_CLOUD=name)

    assert found.endpoint == CLOUDS[name].management
    assert found.scope == f"{CLOUDS[name].management}/.default"


def test_each_of_it_can_be_another() -> None:
    found = audit(
        M365_MANAGEMENT_ENDPOINT="https://manage.example:8443/",
        M365_MANAGEMENT_SCOPE="api://x/.default",
        M365_PUBLISHER_ID=OTHER.upper(),
        M365_REQUESTS_PER_MINUTE="5",
    )

    assert found == Audit(
        endpoint="https://manage.example:8443",
        scope="api://x/.default",
        publisher_id=OTHER,
        requests=5,
    )


@pytest.mark.parametrize(("said", "publisher"), [("", TENANT), (OTHER, OTHER)])
def test_the_api_is_asked_as_it_says_and_as_the_tenant_where_it_names_no_publisher(
    said: str, publisher: str
) -> None:
    apis = Asking(M365_PUBLISHER_ID=said, M365_MANAGEMENT_SCOPE="api://x/.default")
    apis.service.say()

    management(apis, apis.settings.connections[0]).build(Stop(60))(
        "Audit.General", lambda _: None
    ).enabled()

    assert apis.made == ("https://manage.office.com", "api://x/.default")
    ((_, url),) = apis.service.asked
    assert f"/{TENANT}/" in url
    assert url.endswith(f"?PublisherIdentifier={publisher}")


def test_all_audit_sources_share_what_is_read_once() -> None:
    assert [each.name for each in SOURCES if each.section is AUDIT] == AUDITED


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("M365_PUBLISHER_ID", "me", "found 2 characters that are no GUID; expected a GUID, or"),
        ("M365_MANAGEMENT_ENDPOINT", "http://x", "found 'http://x'; expected an https:// URL"),
        ("M365_REQUESTS_PER_MINUTE", "4", "found '4'; expected a number from 5 to 100000"),
        ("M365_REQUESTS_PER_MINUTE", "1e6", "found '1e6'; expected a number from 5 to 100000"),
    ],
)
@pytest.mark.parametrize("sources", [",".join(AUDITED), "MessageTrace"], ids=["all", "none"])
def test_a_mistake_is_named_once_however_many_audit_sources_are_collected(
    name: str, text: str, expected: str, sources: str
) -> None:
    (line,) = problems({**GOOD, "M365_SOURCES": sources, name: text})

    assert line.startswith(f"app setting {name}: {expected}")


def test_a_mistake_of_a_connection_is_named_once_with_its_place() -> None:
    (line,) = problems(many(connection(), connection(name="b", tenant_id=OTHER, publisher_id="me")))

    assert line.startswith("app setting M365_CONNECTIONS[1].publisher_id: found 2 characters")
