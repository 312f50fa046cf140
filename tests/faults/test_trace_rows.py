"""Which rows of the message trace become events: each (message, recipient, status) once, whenever it comes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.tracing import DAY, HOUR, TraceRig

Mail = Callable[..., TraceRig]


def test_one_message_to_seven_recipients_is_seven_events(mail: Mail) -> None:
    rig = mail()
    to = [f"user{n}@lumenfield.example" for n in range(7)]
    row, *_ = rig.tenant.trace.offer(received=rig.ago(minutes=30), recipients=to)

    rig.trace()
    rig.trace()

    assert rig.statuses(row.trace_id) == [(each, "delivered") for each in to]
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_pending_and_then_delivered_are_two_events_and_delivered_again_is_none(mail: Mail) -> None:
    rig = mail()
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20), status="pending")
    rig.trace()
    rig.tenant.trace.change(row, "delivered")

    rig.trace()
    rig.trace()

    assert [status for _, status in rig.statuses(row.trace_id)] == ["delivered", "pending"]
    assert rig.trace_repeats() == 0
    rig.assert_trace_complete()


def test_a_row_that_stands_in_the_trace_twice_is_one_event(mail: Mail) -> None:
    rig = mail(rows=60, days=0.5, duplicates=0.5)

    rig.trace()

    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_a_row_that_appears_three_hours_late_is_delivered_once(mail: Mail) -> None:
    rig = mail()
    late = rig.tenant.now() + 3 * HOUR
    (row,) = rig.tenant.trace.offer(received=rig.ago(hours=2), visible_at=late)
    rig.trace()
    assert not rig.arrived()
    rig.pass_time(hours=3, minutes=1)

    # At the latest six hours later its hour has had its turn.
    for _ in range(4):
        rig.trace()
        rig.pass_time(hours=1)

    assert len(rig.statuses(row.trace_id)) == 1
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_a_row_that_appears_forty_hours_late_is_delivered_once(mail: Mail) -> None:
    rig = mail()
    late = rig.tenant.now() + 40 * HOUR
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=90), visible_at=late)
    rig.trace()
    assert not rig.arrived()
    rig.pass_time(hours=40, minutes=1)

    rig.trace()
    rig.trace()

    assert len(rig.statuses(row.trace_id)) == 1
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_a_row_on_the_boundary_of_two_windows_is_delivered_once(mail: Mail) -> None:
    rig = mail()
    hour = rig.tenant.now().replace(minute=0, second=0, microsecond=0)
    instants = [hour - n * HOUR for n in range(2, 6)]
    for instant in (*instants, hour - DAY, *(i - timedelta(milliseconds=1) for i in instants)):
        rig.tenant.trace.offer(received=instant)
    rig.trace_until_caught_up()
    watermark = rig.checkpoint("MessageTrace").watermark
    assert watermark is not None
    rig.tenant.trace.offer(received=watermark)
    rig.pass_time(minutes=10)

    rig.trace()

    assert len(rig.arrived()) == 10
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_five_thousand_and_one_rows_of_one_second_arrive_whole(mail: Mail) -> None:
    rig = mail(burst=5001)

    rig.trace_until_caught_up()

    assert len(rig.arrived()) == 5001
    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0


def test_null_and_empty_fields_and_odd_addresses_pass_through(mail: Mail) -> None:
    rig = mail(rows=300, days=0.5, odd=1.0)

    rig.trace_until_caught_up()

    rig.assert_trace_complete()
    assert {row["recipientAddress"] for row in rig.bodies()} >= {
        None,
        "",
        "o'neill@lumenfield.example",
    }


def test_a_status_that_nobody_knew_passes_through(mail: Mail) -> None:
    rig = mail()
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20))
    (new,) = rig.tenant.trace.offer(received=rig.ago(minutes=20), status="teleported")
    rig.trace()
    rig.tenant.trace.change(row, "recalled")

    rig.trace()

    assert [status for _, status in rig.statuses(row.trace_id)] == ["delivered", "recalled"]
    assert [status for _, status in rig.statuses(new.trace_id)] == ["teleported"]
    rig.assert_trace_complete()


def test_an_event_says_what_it_is_in_its_properties(mail: Mail) -> None:
    rig = mail()
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20))

    rig.trace()

    (event,) = rig.hubs.events("m365-message-trace")
    assert event.properties["content_id"] == row.trace_id
    assert len(str(event.properties["event_id"])) == 32
    assert event.properties["source"] == "MessageTrace"
    assert event.properties["tenant_id"] == rig.tenant.spec.tenant_id
    assert event.properties["connection"] == "default"


def test_mail_that_flows_on_with_late_rows_and_changes_arrives_whole(mail: Mail) -> None:
    rig = mail(
        rows=300,
        days=1.0,
        rate=2.0,
        latency_s=240.0,
        late=0.1,
        late_after_s=(600.0, 9000.0),
        changing=0.3,
        odd=0.1,
    )
    for _ in range(4):
        rig.trace()
        rig.pass_time(minutes=40)
    # What changed or came late has its turn again within six hours.
    rig.pass_time(hours=6)
    rig.trace_until_caught_up()

    rig.assert_trace_complete()
    assert rig.trace_repeats() == 0
