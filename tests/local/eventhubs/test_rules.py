from __future__ import annotations

import threading

import pytest

from local.eventhubs import Fault, Faults
from local.eventhubs.hub import Hub
from local.eventhubs.message import Publication
from local.eventhubs.namespace import Throughput
from tests.local.eventhubs.conftest import PATIENCE_S


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        pytest.param({"on": "read", "action": "drop"}, "attach, publish, put_token", id="on"),
        pytest.param({"action": "explode"}, "ack_lost, close, delay, detach, drop", id="action"),
        pytest.param({"action": "drop", "delay_s": 1.0}, "takes after, hub", id="field"),
        pytest.param({"action": "reject", "group": "g"}, "condition, description", id="group"),
        pytest.param({"action": "drop", "times": 0}, "-1 for always", id="times"),
        pytest.param({"action": "drop", "after": -1}, "0 or more", id="after"),
        pytest.param({"action": "drop", "rate": 1.5}, "between 0 and 1", id="rate"),
        pytest.param({"action": "drop", "times": "2"}, "whole number", id="kind"),
        pytest.param({"action": "drop", "partition": 1}, "must be a string", id="partition"),
        pytest.param({"on": "attach", "action": "reject"}, "delay, no_credit, refuse", id="attach"),
        pytest.param({"action": "drop", "delay": 1}, "unknown fault fields delay", id="unknown"),
        pytest.param({"on": "publish"}, "needs an action", id="no action"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_what_would(
    rule: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Fault.from_mapping(rule)


def test_a_rule_survives_json() -> None:
    fault = Fault(action="reject", hub="audit", after=2, times=-1, rate=0.5, condition="x:y")
    assert Fault.from_mapping(fault.to_mapping()) == fault


def test_a_rule_acts_after_so_many_and_so_many_times() -> None:
    faults = Faults()
    fault = Fault(action="drop", after=2, times=2)
    faults.add(fault)
    assert [faults.take("publish") for _ in range(6)] == [None, None, fault, fault, None, None]
    assert faults.armed() == []


def test_a_rule_acts_only_where_it_matches() -> None:
    faults = Faults()
    fault = Fault(on="attach", action="refuse", hub="audit", partition="1", group="g", times=-1)
    faults.add(fault)
    assert faults.take("publish", hub="audit", partition="1") is None
    assert faults.take("attach", hub="other", partition="1", group="g") is None
    assert faults.take("attach", hub="audit", partition=None, group="g") is None
    assert faults.take("attach", hub="audit", partition="1", group="g") is fault


def test_the_first_rule_that_is_due_acts() -> None:
    faults = Faults()
    first, second = Fault(action="drop"), Fault(action="reject", times=-1)
    faults.add(first, second)
    assert [faults.take("publish") for _ in range(3)] == [first, second, second]


def test_drop_mid_acts_only_in_the_middle_of_a_message() -> None:
    faults = Faults()
    faults.add(Fault(action="drop_mid"))
    assert faults.take("publish") is None
    assert faults.take("publish", mid_message=True) is not None


def test_a_rate_is_repeatable_and_about_right() -> None:
    def acted(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(action="drop", rate=0.25, times=-1))
        return [faults.take("publish") is not None for _ in range(1000)]

    assert acted(1) == acted(1) != acted(2)
    assert 200 < sum(acted(1)) < 300


def test_rules_may_change_from_any_thread() -> None:
    faults = Faults()
    taken: list[Fault] = []

    def take() -> None:
        while len(taken) < 400:
            fault = faults.take("publish")
            if fault is not None:
                taken.append(fault)

    taker = threading.Thread(target=take, daemon=True)

    def add() -> None:
        for _ in range(100):
            faults.add(Fault(action="drop"))

    adders = [threading.Thread(target=add) for _ in range(4)]
    for thread in (taker, *adders):
        thread.start()
    for thread in (*adders, taker):
        thread.join(PATIENCE_S)
    assert len(taken) == 400
    assert faults.armed() == []


def test_a_quota_admits_a_second_s_worth_and_recovers_with_time() -> None:
    now = [0.0]
    quota = Throughput(1, clock=lambda: now[0])
    assert quota.admit(600_000, 10)
    assert quota.admit(600_000, 10)
    assert not quota.admit(1, 1)
    now[0] += 0.25
    assert quota.admit(1, 1)
    assert Throughput(0).admit(1 << 40, 1 << 40)


def test_a_quota_counts_events_too() -> None:
    now = [0.0]
    quota = Throughput(1, clock=lambda: now[0])
    assert quota.admit(1, 1_000)
    assert not quota.admit(1, 1)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param(None, 0, id="none"),
        pytest.param("amqp.annotation.x-opt-offset > '-1'", 0, id="start"),
        pytest.param("amqp.annotation.x-opt-offset > '@latest'", 4, id="latest"),
        pytest.param("amqp.annotation.x-opt-offset > '3'", 2, id="offset"),
        pytest.param("amqp.annotation.x-opt-offset >= '3'", 1, id="offset, inclusive"),
        pytest.param("amqp.annotation.x-opt-sequence-number > '2'", 3, id="sequence number"),
        pytest.param("amqp.annotation.x-opt-enqueued-time > '1'", 0, id="time"),
        pytest.param("amqp.annotation.x-opt-enqueued-time > '99999999999999'", 4, id="future"),
    ],
)
def test_a_selector_names_the_first_event(selector: str | None, expected: int) -> None:
    partition = Hub("audit", 1, keep=True).partitions[0]
    messages = [memoryview(b"abc")] * 4
    partition.append(Publication(messages=messages, partition_key=None))
    assert partition.position_of(selector) == expected


def test_an_unknown_selector_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown selector"):
        Hub("audit", 1, keep=True).partitions[0].position_of("colour = 'red'")


def test_a_key_always_goes_to_one_partition_and_no_key_to_each_in_turn() -> None:
    hub = Hub("audit", 4, keep=True)
    assert {hub.route("tenant").id for _ in range(5)} == {hub.route("tenant").id}
    assert [hub.route(None).id for _ in range(5)] == ["0", "1", "2", "3", "0"]
    assert len({hub.route(f"tenant-{n}").id for n in range(40)}) == 4
