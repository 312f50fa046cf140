"""The walk finds the modules that a value goes through."""

from __future__ import annotations

from scripts.walk import way_of
from tests.harness import EXCHANGE, Rig, record


def test_a_record_is_followed_from_the_answer_to_the_hub(rig: Rig) -> None:
    rig.offer(records=[one := record()])

    way = way_of(rig, EXCHANGE, [one])

    assert way[0] == "service/http"
    assert {"records/__init__", "publish/publisher", "publish/event_hubs"} <= set(way)
    assert not {"state/ledger", "state/checkpoint"} & set(way)


def test_what_is_never_there_goes_nowhere(rig: Rig) -> None:
    rig.offer(records=[record()])

    assert not way_of(rig, EXCHANGE, [record()])
