"""Event Hubs in trouble: nothing is lost, nothing is claimed early, and the run ends and says why."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from local.eventhubs import SERVER_BUSY, EventHubs, Fault
from shared.app import App
from shared.publish.event_hubs import EventHubSink
from shared.publish.pace import Abandoned
from shared.sources.registry import load
from shared.state.ledger import State
from tests.harness import FAST, HUB, Rig, record
from tests.waits import LONG, comes, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.state.run_summary import RunSummary

# The SDK does not close the socket of a connection that broke.
pytestmark = [
    pytest.mark.usefixtures("collected_before"),
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

SMALL = 8_000
"""A hub that takes so few bytes at once makes many batches of a few records."""

IN_TIME = 90.0
"""A run that ends by itself takes a tenth of it; its own budget, which would end it too, is longer."""

SILENCE = 8.0
"""Seconds without an acknowledgement that end a run; its answer, whatever it is, comes in a fraction of it."""


@pytest.fixture(scope="module", autouse=True)
def _let_hanging_sends_end() -> Iterator[None]:
    """What they leave open must not be found in somebody else's test."""
    yield
    deadline = time.monotonic() + LONG
    for thread in threading.enumerate():
        if thread.name in ("sender", "closer"):
            thread.join(max(0.0, deadline - time.monotonic()))
    gc.collect()


@contextmanager
def collector(
    rig: Rig, *, hub: str = HUB, send_timeout: float = 5.0, senders: int = 2, **patience: float
) -> Iterator[App]:
    """The collector with the SDK's own patience shortened too, well below that of the watchdog.

    Where nothing hangs, neither comes to its end however busy the machine is.
    """
    waits = {"watchdog": 10.0, "no_acknowledgement": 20.0, **patience}
    tuning = replace(FAST, senders=senders, patience=replace(FAST.patience, **waits))
    sink = EventHubSink(
        hub,
        connection_string=rig.hubs.connection_string(),
        send_timeout=send_timeout,
    )
    app = App(load(rig.values()), tuning=tuning, sink=sink)
    try:
        yield app
    finally:
        app.close()
        sink.close()


def change_hub(rig: Rig, **options: Any) -> None:
    """Put a hub of another kind into the rig."""
    rig.hubs.__exit__(None, None, None)
    rig.hubs = EventHubs({HUB: 2}, **options)
    rig.hubs.__enter__()


def events_in_a_batch(rig: Rig) -> int:
    """More than this many of the events that arrived do not fit into a batch of a small hub."""
    return SMALL // min(len(stored.encoded) for stored in rig.hubs.events(HUB))


def run_in_time(rig: Rig, app: App) -> RunSummary:
    """Run once; the run has to end by itself, long before its own end."""
    started = time.monotonic()
    summary = rig.run(app=app)
    assert time.monotonic() - started < LONG < FAST.run_seconds / 2
    return summary


def assert_finishes(rig: Rig, contents: int) -> None:
    """A run that nothing disturbs delivers the rest."""
    rig.hubs.faults.clear()
    after = rig.run()
    assert (after.status, after.caught_up, after.pending) == ("succeeded", True, 0)
    assert len(rig.delivered()) == contents
    rig.assert_complete()


# -- trouble that passes


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault(action="reject", condition=SERVER_BUSY, times=4)], id="throttling"),
        pytest.param([Fault(action="detach", times=2)], id="detaching"),
        pytest.param([Fault(action="close", times=2)], id="closing-the-connection"),
        pytest.param([Fault(action="end")], id="ending-the-session"),
        pytest.param([Fault(action="drop", times=2)], id="dropping-before-storing"),
        # One for each of two connections, so that both hang at the same time.
        pytest.param(
            [Fault(action="release"), Fault(action="modify")], id="releasing-and-modifying"
        ),
        pytest.param([Fault(on="attach", action="no_credit")], id="giving-no-credit"),
    ],
)
def test_what_was_not_stored_is_sent_again_and_arrives_once(rig: Rig, faults: list[Fault]) -> None:
    change_hub(rig, max_message_bytes=SMALL)
    rig.offer_many(20)
    rig.hubs.faults.add(*faults)

    # Only what hangs may be given up: a send that is but slow would arrive twice.
    with collector(rig, send_timeout=6.0, watchdog=10.0) as app:
        summary = run_in_time(rig, app)

    assert rig.hubs.stats.faults == sum(fault.times for fault in faults)
    assert (summary.status, summary.error, summary.delivered) == ("succeeded", "", 20)
    assert summary.batches > 3
    assert (summary.sink_busy > 0) == (faults[0].condition == SERVER_BUSY)
    rig.assert_complete()
    assert rig.repeats() == 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(action="ack_lost", times=2), id="dropping-after-storing"),
        pytest.param(Fault(action="no_ack", times=2), id="never-settling"),
    ],
)
def test_what_was_stored_and_not_acknowledged_is_repeated_and_nothing_else(
    rig: Rig, fault: Fault
) -> None:
    change_hub(rig, max_message_bytes=SMALL)
    rig.offer_many(20)
    rig.hubs.faults.add(fault)

    with collector(rig, send_timeout=2.0) as app:
        summary = run_in_time(rig, app)

    assert rig.hubs.stats.faults == fault.times
    assert (summary.status, summary.error, summary.delivered) == ("succeeded", "", 20)
    rig.assert_complete()
    assert 0 < rig.repeats() <= fault.times * events_in_a_batch(rig) < 60


def test_a_connection_that_breaks_in_the_middle_of_a_batch_costs_nothing(rig: Rig) -> None:
    for _ in range(3):
        rig.offer(records=[record(Padding="x" * 60_000) for _ in range(4)])
    rig.hubs.faults.add(Fault(action="drop_mid"))

    with collector(rig) as app:
        summary = run_in_time(rig, app)

    assert rig.hubs.stats.faults == 1
    assert (summary.status, summary.delivered) == ("succeeded", 3)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_hub_that_takes_less_than_it_announced_gets_smaller_batches(rig: Rig) -> None:
    rig.offer_many(20)
    condition = "amqp:link:message-size-exceeded"
    rig.hubs.faults.add(Fault(action="reject", condition=condition, times=6))

    with collector(rig) as app:
        summary = run_in_time(rig, app)

    assert (summary.status, summary.delivered, summary.dead_letters) == ("succeeded", 20, 0)
    assert rig.dead_letters() == {}
    rig.assert_complete()
    assert rig.repeats() == 0


@pytest.mark.parametrize("action", ["reject", "detach"])
def test_one_refusal_for_its_size_costs_a_small_record_nothing(rig: Rig, action: str) -> None:
    rig.offer(records=[record()])
    rig.hubs.faults.add(Fault(action=action, condition="amqp:link:message-size-exceeded"))

    with collector(rig) as app:
        summary = run_in_time(rig, app)

    assert rig.hubs.stats.faults == 1
    assert (summary.status, summary.delivered, summary.dead_letters) == ("succeeded", 1, 0)
    rig.assert_complete()


def test_a_hub_over_its_throughput_is_given_time_and_gets_everything_once(rig: Rig) -> None:
    change_hub(rig, max_message_bytes=SMALL, throughput_units=0.02)
    rig.offer_many(40)

    with collector(rig) as app:
        summary = run_in_time(rig, app)

    assert rig.hubs.stats.throttled > 0
    assert summary.sink_busy > 0
    assert (summary.status, summary.delivered) == ("succeeded", 40)
    rig.assert_complete()
    assert rig.repeats() == 0


# -- trouble that stays


@pytest.mark.parametrize(
    ("fault", "status", "code", "words"),
    [
        pytest.param(
            Fault(on="attach", action="refuse", condition="amqp:unauthorized-access", times=-1),
            "failed",
            "unauthorized-access",
            "needs the role 'Azure Event Hubs Data Sender'",
            id="refusing",
        ),
        pytest.param(
            Fault(on="put_token", action="status", times=-1),
            "failed",
            "client-error",
            "needs the role 'Azure Event Hubs Data Sender'",
            id="refusing-the-token",
        ),
        pytest.param(
            Fault(action="reject", condition=SERVER_BUSY, times=-1),
            "incomplete",
            "sink-throttled",
            "raise the throughput units",
            id="throttling",
        ),
        pytest.param(
            Fault(action="drop", times=-1),
            "failed",
            "",
            "connection broke",
            id="dropping-before-storing",
        ),
    ],
)
def test_a_hub_that_takes_nothing_ends_the_run_in_time_and_loses_nothing(
    rig: Rig, fault: Fault, status: str, code: str, words: str
) -> None:
    rig.offer_many(12)
    rig.hubs.faults.add(fault)

    with collector(rig, no_acknowledgement=SILENCE) as app:
        summary = run_in_time(rig, app)

    assert summary.status == status
    # What the SDK calls a connection that was cut depends on when it notices.
    assert summary.error_code in ((code,) if code else ("socket-error", "unreachable"))
    assert words in summary.error
    assert (summary.delivered, summary.pending, summary.caught_up) == (0, 12, False)
    assert rig.delivered() == set()
    assert rig.events() == []
    (row,) = rig.run_rows()
    assert (row["status"], row["error_code"], row["error"]) == (
        status,
        summary.error_code,
        summary.error,
    )

    assert_finishes(rig, 12)


def test_a_hub_that_stores_and_never_answers_ends_the_run_and_nothing_is_claimed(
    rig: Rig,
) -> None:
    change_hub(rig, max_message_bytes=SMALL)
    rig.offer_many(20)
    rig.hubs.faults.add(Fault(action="no_ack", times=-1))

    with collector(rig, send_timeout=0.4, no_acknowledgement=5.0) as app:
        summary = run_in_time(rig, app)

    assert summary.status == "failed"
    assert "the connection broke or nothing answered" in summary.error
    assert (summary.delivered, summary.pending, summary.caught_up) == (0, 20, False)
    assert rig.events(), "it did store something"
    assert rig.delivered() == set(), "only an acknowledgement says that it did"

    assert_finishes(rig, 20)
    assert rig.repeats() <= rig.hubs.stats.faults * events_in_a_batch(rig)


def test_more_hanging_sends_than_allowed_end_the_run_with_a_sink_error(rig: Rig) -> None:
    change_hub(rig, max_message_bytes=SMALL)
    rig.offer_many(20)
    rig.hubs.faults.add(Fault(action="release", times=-1))

    with collector(rig, send_timeout=0.3, watchdog=1.0, no_acknowledgement=LONG) as app:
        summary = run_in_time(rig, app)

    assert (summary.status, summary.error_code) == ("failed", "send-abandoned")
    assert "sends to Event Hubs hung" in summary.error
    assert (summary.delivered, summary.pending) == (0, 20)
    assert (rig.delivered(), rig.events()) == (set(), [])

    assert_finishes(rig, 20)
    assert rig.repeats() == 0


def test_a_hub_that_does_not_exist_is_named_together_with_its_setting(rig: Rig) -> None:
    rig.offer_many(3)

    with collector(rig, hub="missing", no_acknowledgement=SILENCE) as app:
        summary = run_in_time(rig, app)

    assert summary.status == "failed"
    assert "'missing': There is no such hub. Create it, or set M365_OUTPUT_" in summary.error
    assert (summary.delivered, summary.pending) == (0, 3)
    assert rig.events() == []
    assert_finishes(rig, 3)


# -- before the acknowledgement


def test_nothing_is_delivered_while_its_acknowledgement_is_held_back(rig: Rig) -> None:
    contents = rig.offer_many(6)
    rig.hubs.faults.add(Fault(action="hold"))

    with collector(
        rig, send_timeout=2 * LONG, watchdog=2 * LONG, no_acknowledgement=2 * LONG
    ) as app:
        finished = in_background(lambda: rig.run(app=app))
        assert rig.hubs.wait_held(1, timeout_s=LONG)
        rig.assert_complete()
        # Longer than the ledger waits before it writes.
        assert not comes(lambda: bool(rig.delivered()), seconds=0.3)
        assert {entry.state for entry in rig.ledger().values()} == {State.LISTED.value}
        (row,) = rig.run_rows()
        assert (row["status"], row["delivered"]) == ("running", 0)
        rig.hubs.release_held()
        summary = finished()

    assert (summary.status, summary.delivered) == ("succeeded", 6)
    assert rig.delivered() == {content.content_id for content in contents}
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_content_with_one_batch_acknowledged_and_one_not_is_not_delivered(rig: Rig) -> None:
    change_hub(rig, max_message_bytes=SMALL)
    # A batch holds about a dozen events, so some content has to lie in two of them.
    rig.offer_many(6, records=5)
    rig.hubs.faults.add(Fault(action="hold", after=1))

    with collector(
        rig,
        senders=1,
        send_timeout=2 * LONG,
        watchdog=2 * LONG,
        no_acknowledgement=2 * LONG,
        linger=1.0,
    ) as app:
        finished = in_background(lambda: rig.run(app=app))
        assert rig.hubs.wait_held(1, timeout_s=LONG)
        # Batches go to the partitions in turn: the first is acknowledged, the second is not.
        first, second = (
            [event for event in rig.hubs.events(HUB) if event.partition == partition]
            for partition in ("0", "1")
        )
        acknowledged = [str(event.properties["content_id"]) for event in first]
        whole = {each for each in acknowledged if acknowledged.count(each) == 5}
        assert whole
        assert set(acknowledged) - whole, "no content lies in two batches"
        assert second
        wait_for(lambda: rig.delivered() == whole)
        assert not comes(lambda: rig.delivered() != whole, seconds=0.3)
        rig.hubs.release_held()
        summary = finished()

    assert (summary.status, summary.delivered) == ("succeeded", 6)
    rig.assert_complete()
    assert rig.repeats() == 0


def in_background(work: Callable[[], RunSummary]) -> Callable[[], RunSummary]:
    """Start a run on a thread of its own; returns what waits for its end."""
    results: list[RunSummary] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()

    def wait() -> RunSummary:
        thread.join(LONG)
        assert results, "the run did not end"
        return results[0]

    return wait


def test_a_send_that_hangs_in_the_sdk_ends_once_its_connection_is_cut(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned = Abandoned()
    monkeypatch.setattr("shared.app.Abandoned", lambda: abandoned)
    rig.offer_many(4)
    rig.hubs.faults.add(Fault(action="release"))

    with collector(rig, senders=1, watchdog=1.5) as app:
        summary = run_in_time(rig, app)
        wait_for(lambda: not abandoned.hanging)

        assert (summary.status, abandoned.hanging) == ("succeeded", 0)
    rig.assert_complete()
    assert rig.repeats() == 0, "it began anew on a connection of its own"


def test_what_still_hangs_when_a_run_ends_sends_nothing_after_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned = Abandoned()
    monkeypatch.setattr("shared.app.Abandoned", lambda: abandoned)
    change_hub(rig, max_message_bytes=SMALL)
    rig.offer_many(20)
    rig.hubs.faults.add(Fault(action="release", times=2))

    with collector(rig, send_timeout=LONG, watchdog=LONG, no_acknowledgement=3.0) as app:
        summary = run_in_time(rig, app)
        wait_for(lambda: not abandoned.hanging)

    assert (summary.status, summary.delivered, rig.events()) == ("failed", 0, [])
    assert_finishes(rig, 20)
    assert rig.repeats() == 0
