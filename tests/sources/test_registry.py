"""A source is one row: what is configured follows from it, and the engine collects it without knowing it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared.config.declarations import Section, sections_of, settings_of
from shared.config.keys import NUMBER, Key, Setting, Values
from shared.errors import ConfigError
from shared.sources.registry import BY_NAME, SOURCES, load
from tests.adding.badges import Badges, source_of
from tests.config.test_settings import GOOD, connection, many

if TYPE_CHECKING:
    from shared.config.clouds import Cloud

NAME = "Made.Up"
README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def read(values: Values, cloud: Cloud, login: str, wanted: bool) -> tuple[str, float, bool]:
    return values.text("depth", "2"), values.numbers["M365_MADE_UP_SPEED"], wanted


OWN = Section(
    name=NAME,
    keys=(Key(name="depth", default="2", kind=NUMBER, help="How deep."),),
    settings=(Setting(name="M365_MADE_UP_SPEED", default="7", bounds=(1, 9), help="How fast."),),
    read=read,
)
MADE_UP = replace(source_of(Badges()), name=NAME, setting="MADE_UP", hub="m365-audit", section=OWN)
EVERY = (*SOURCES, MADE_UP)


def test_every_name_and_every_setting_of_a_source_is_its_own() -> None:
    assert len({each.name.lower() for each in SOURCES}) == len(SOURCES)
    assert len({each.setting for each in SOURCES}) == len(SOURCES)
    assert list(BY_NAME) == [each.name for each in SOURCES]
    sections = sections_of(SOURCES)
    assert len({each.name for each in sections}) == len(sections)


def test_the_readme_has_each_timer_with_its_source_and_hub() -> None:
    table = README.partition("## What it collects")[2].partition("\n\n|")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(.*?)`", line) for line in table.splitlines()[2:]]

    assert rows == [[each.setting.lower(), each.name, each.hub] for each in SOURCES]


def test_the_settings_of_a_source_follow_from_its_row() -> None:
    defaults = {each.name: each.default for each in settings_of(EVERY)}
    before = {each.name for each in settings_of(SOURCES)}

    assert {name: defaults[name] for name in defaults.keys() - before} == {
        "M365_OUTPUT_MADE_UP": "m365-audit",
        "MADE_UP_SCHEDULE": f"0 {len(SOURCES)}-59/10 * * * *",
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


def test_a_section_of_several_sources_is_read_once_and_wanted_with_one_of_them() -> None:
    calls = []

    def count(values: Values, cloud: Cloud, login: str, wanted: bool) -> bool:
        calls.append(wanted)
        return wanted

    one = replace(MADE_UP, section=replace(OWN, read=count))
    two = replace(one, name="Made.Up.Too", setting="MADE_UP_TOO")
    either = [load({**GOOD, "M365_SOURCES": each.name}, (one, two)) for each in (one, two)]
    neither = load({**GOOD, "M365_SOURCES": "DLP.All"}, (*SOURCES, one, two))

    assert calls == [True, True, False]
    assert [found.connections[0].own[NAME] for found in (*either, neither)] == calls
    added = {each.name for each in settings_of((one, two))} - {
        each.name for each in settings_of((one,))
    }
    assert added == {"M365_OUTPUT_MADE_UP_TOO", "MADE_UP_TOO_SCHEDULE"}


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


@pytest.mark.parametrize(
    ("text", "found"),
    [("-3.5", -3.5), ("1e9", 1e9), ("seven", None), ("nan", None), ("inf", None)],
)
def test_a_number_without_bounds_is_any_finite_one(text: str, found: float | None) -> None:
    speed = Setting(name="M365_MADE_UP_SPEED", default="7", help="How fast.")
    sources = (*SOURCES, replace(MADE_UP, section=replace(OWN, settings=(speed,))))

    if found is None:
        with pytest.raises(ConfigError, match=rf"_SPEED: found '{text}'; expected a number$"):
            load({**GOOD, "M365_MADE_UP_SPEED": text}, sources)
    else:
        settings = load({**GOOD, "M365_MADE_UP_SPEED": text}, sources)
        assert settings.connections[0].own[NAME][1] == found


def test_a_key_of_a_source_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[0\]\.depth: not a key of a connection"):
        load(many(connection(depth=5)))
