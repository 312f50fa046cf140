from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from local.tenant import SOURCES, Tenant, event_id
from local.tenant.records import RecordWriter
from tests.local.tenant.conftest import NOW, TENANT_ID, make_spec, make_tenant


def write(source: str, number: int, *, seed: int = 1, record_bytes: int = 1500) -> list[bytes]:
    writer = RecordWriter(seed=seed, tenant_id=TENANT_ID, record_bytes=record_bytes)
    key = writer.key(f"1$1${source}")
    return [writer.write(source, key, at, NOW).raw for at in range(number)]


@pytest.mark.parametrize("source", SOURCES)
def test_records_have_the_common_schema(source: str) -> None:
    for raw in write(source, 300):
        record = json.loads(raw)
        assert record["OrganizationId"] == TENANT_ID
        assert isinstance(record["RecordType"], int)
        assert {"Id", "Operation", "UserType", "UserKey", "Workload", "UserId"} <= set(record)
        time = datetime.fromisoformat(record["CreationTime"])
        assert time.replace(tzinfo=UTC) < NOW
        assert raw == raw.strip()
        assert b"<guid" not in raw


@pytest.mark.parametrize("source", SOURCES)
def test_records_of_a_source_differ_in_kind(source: str) -> None:
    records = [json.loads(raw) for raw in write(source, 300)]
    assert len({record["RecordType"] for record in records}) >= 2
    assert len({record["Operation"] for record in records}) >= 2
    assert len({record["Id"] for record in records}) == 300


def test_times_are_mostly_without_a_zone_and_sometimes_with_z() -> None:
    times = [json.loads(raw)["CreationTime"] for raw in write(SOURCES[0], 2000)]
    zoned = sum(time.endswith("Z") for time in times)
    assert 0 < zoned < 200


@pytest.mark.parametrize("wanted", [500, 1500, 8000, 100_000])
def test_records_are_about_the_wanted_size(wanted: int) -> None:
    sizes = [len(raw) for source in SOURCES for raw in write(source, 100, record_bytes=wanted)]
    assert 0.8 * wanted < sum(sizes) / len(sizes) < 1.25 * wanted
    assert max(sizes) < 1.8 * wanted


def test_records_hold_what_makes_parsers_stumble() -> None:
    every = b"\n".join(raw for source in SOURCES for raw in write(source, 400))
    for found in ("\U0001f389", "\u898b\u7a4d\u66f8", r"\u003c", r"\/", r"\ud83d\ude00", r"\""):
        assert found.encode() in every, found
    assert rb"{\"etype\"" in every


def test_the_same_seed_writes_the_same_bytes() -> None:
    assert write(SOURCES[1], 50) == write(SOURCES[1], 50)
    assert write(SOURCES[1], 50) != write(SOURCES[1], 50, seed=2)


def bodies(tenant: Tenant) -> dict[str, bytes]:
    return {
        content.content_id: tenant.shelf.bodies.body(content) for content in tenant.shelf.offered()
    }


def test_two_tenants_of_one_seed_and_time_are_equal() -> None:
    fields = {"contents": 60, "late": 0.1, "relisted": 0.1, "duplicate_ids": 0.2}
    first, second = (make_tenant(**fields) for _ in range(2))
    assert first.shelf.offered() == second.shelf.offered()
    assert bodies(first) == bodies(second)
    assert bodies(first) != bodies(make_tenant(**fields, seed=2))


def test_repeated_ids_cross_contents_of_a_source_and_never_stand_twice_in_one() -> None:
    tenant = make_tenant(contents=60, records=40, duplicate_ids=0.2)
    owners: dict[str, set[str]] = {}
    total = 0
    for name, body in bodies(tenant).items():
        ids = [record["Id"] for record in json.loads(body)]
        assert len(ids) == len(set(ids))
        total += len(ids)
        for one in ids:
            owners.setdefault(one, set()).add(name)
    assert 0.1 < 1 - len(owners) / total < 0.25
    for names in owners.values():
        assert len({name.split("$")[2] for name in names}) == 1


def test_some_repeated_ids_come_with_other_bytes() -> None:
    tenant = make_tenant(contents=60, records=40, duplicate_ids=0.2)
    forms: dict[str, Counter[str]] = {}
    for event in tenant.expected_events():
        forms.setdefault(event.event_id, Counter())[event.digest] += 1
    repeated = [found for found in forms.values() if found.total() > 1]
    changed = sum(len(found) > 1 for found in repeated)
    assert 0 < changed < len(repeated) / 2


def test_extra_records_are_each_in_one_content_byte_for_byte() -> None:
    extras = [b'{"Id":"x-1" , "a":1}', b'{"no":"id"}', '{"Id":"\u00fc"}'.encode()]
    tenant = Tenant(make_spec(contents=40, extra_records=extras), clock=lambda: NOW)
    found = bodies(tenant)
    for extra in extras:
        assert sum(body.count(extra) for body in found.values()) == 1
    ids = Counter(event.event_id for event in tenant.expected_events())
    for extra in extras:
        assert ids[event_id(extra)] == 1
