"""A source is one row: what is configured follows from it, and the engine collects it without knowing it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from shared.app import App
from shared.config.clouds import Cloud
from shared.config.connections import Connection
from shared.config.declarations import settings_of
from shared.config.keys import NUMBER, Key, Setting, Values
from shared.contents.content import Content
from shared.contents.job import ContentJob
from shared.contents.replay import ReplaySummary, replay_feed
from shared.errors import ConfigError
from shared.run.context import Feed, JobMaker, Parts, RunContext, Tuning
from shared.sources.clients import Apis
from shared.sources.registry import BY_NAME, CONTENTS, SOURCES, Source, load
from shared.times import ServiceClock, Window, iso, utc_now
from tests.config.test_settings import GOOD, connection, many
from tests.harness import FAST, Rig

NAME = "Made.Up"
RECORDS = b'[{"Id":"a"},{"Id":"b"}]'


@dataclass
class MadeUp:
    """A service that has one content, an hour old."""

    created: datetime = field(default_factory=lambda: utc_now() - timedelta(hours=1))
    requests: int = 0
    throttled: int = 0

    def pages(self, window: Window) -> Iterator[list[Content]]:
        self.requests += 1
        if window.start <= self.created < window.end:
            yield [self.read_entry(b"one", window.start)]

    def fetch(self, content: Content, reserve: Callable[[int, bool], None]) -> bytes:
        self.requests += 1
        reserve(len(RECORDS), False)
        return RECORDS

    def content_uri(self, content_id: str) -> str:
        return f"made-up:{content_id}"

    def read_entry(self, raw: bytes, start: datetime) -> Content:
        name = raw.decode()
        return Content(
            id=name,
            uri=self.content_uri(name),
            created=iso(self.created),
            expires="",
            day=self.created.date(),
        )

    def horizon(self) -> datetime:
        return utc_now() - timedelta(days=7)


def jobs(apis: Apis, connection: Connection) -> JobMaker:
    def make(run: RunContext) -> ContentJob:
        api = MadeUp()
        return ContentJob(run, api, ready=lambda gaps: None, counted=api)

    return JobMaker(make=make, clock=ServiceClock())


def replay(
    apis: Apis, connection: Connection, feed: Feed, parts: Parts, tuning: Tuning
) -> ReplaySummary:
    return replay_feed(feed, parts, MadeUp(), tuning)


def read(values: Values, cloud: Cloud, login: str, wanted: bool) -> tuple[str, float, bool]:
    return values.text("depth", "2"), values.numbers["M365_MADE_UP_SPEED"], wanted


MADE_UP = Source(
    name=NAME,
    setting="MADE_UP",
    hub="m365-audit",
    keys=(Key(name="depth", default="2", kind=NUMBER, help="How deep."),),
    settings=(Setting(name="M365_MADE_UP_SPEED", default="7", bounds=(1, 9), help="How fast."),),
    read=read,
    engine=CONTENTS,
    jobs=jobs,
    replay=replay,
)
EVERY = (*SOURCES, MADE_UP)


def test_every_name_and_every_setting_of_a_source_is_its_own() -> None:
    assert len({each.name.lower() for each in SOURCES}) == len(SOURCES)
    assert len({each.setting for each in SOURCES}) == len(SOURCES)
    assert list(BY_NAME) == [each.name for each in SOURCES]


def test_the_settings_of_a_source_follow_from_its_row() -> None:
    defaults = {each.name: each.default for each in settings_of(EVERY)}
    before = {each.name for each in settings_of(SOURCES)}

    assert {name: defaults[name] for name in defaults.keys() - before} == {
        "M365_OUTPUT_MADE_UP": "m365-audit",
        "MADE_UP_SCHEDULE": "0 6-59/10 * * * *",
        "M365_DEPTH": "2",
        "M365_MADE_UP_SPEED": "7",
    }
    assert defaults["M365_SOURCES"].endswith(f",{NAME}")


def test_what_a_connection_says_of_a_source_is_read_by_the_source() -> None:
    found = load({**GOOD, "M365_DEPTH": "4", "M365_MADE_UP_SPEED": "8"}, EVERY)
    apart = load(many(connection(depth=5, sources=["DLP.All"])), EVERY)

    assert found.connections[0].own[NAME] == ("4", 8.0, True)
    assert found.hubs[NAME] == "m365-audit"
    assert apart.connections[0].own[NAME] == ("5", 7.0, False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({**GOOD, "M365_MADE_UP_SPEED": "10"}, "M365_MADE_UP_SPEED: found '10'"),
        (many(connection(), M365_DEPTH="3"), "M365_DEPTH: set together with M365_CONNECTIONS"),
        (many(connection(depth=[1])), "M365_CONNECTIONS[0].depth: found a value of type list"),
    ],
    ids=["number", "beside-many", "no-text"],
)
def test_a_mistake_in_it_is_named_like_any_other(values: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(values, EVERY)

    assert expected in str(caught.value)


def test_a_key_of_a_source_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[0\]\.depth: not a key of a connection"):
        load(many(connection(depth=5)))


def test_the_engine_collects_it_with_ledger_events_and_rows(rig: Rig) -> None:
    app = App(
        load(rig.values(M365_SOURCES=NAME), EVERY),
        tuning=FAST,
        sources={each.name: each for each in EVERY},
    )
    try:
        (first,), (second,) = app.run(NAME), app.run(NAME)
        (brought,) = app.replay(NAME)
    finally:
        app.close()

    assert (first.status, first.delivered, first.records) == ("succeeded", 1, 2)
    assert (second.status, second.delivered) == ("succeeded", 0)
    assert (brought.letters, brought.error) == (0, "")
    assert [json.loads(each.body)["Id"] for each in rig.hubs.events("m365-audit")] == ["a", "b"]
    assert rig.delivered(NAME) == {"one"}
    assert first.requests > 1
    assert sum(int(row["delivered"]) for row in rig.day_rows(NAME)) == 1
    assert len(rig.run_rows(NAME)) == 2
