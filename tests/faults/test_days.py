"""What days are called, on the rig: final is never said of a day that may lack something, and every row comes."""

from __future__ import annotations

import json
import logging
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import Fault
from local.tenant.messages import http_date
from shared.contents.job import ContentJob
from shared.days.looks import LookStore
from shared.state.account import read_blob, write_blob
from shared.state.append_blobs import LedgerStore
from shared.state.feed_ledger import FeedLedger
from shared.state.tables import DAYS_TABLE
from shared.times import HOUR, LEAP_ANSWERS, ServiceClock, beginning_of, end_of, utc_now
from tests.campaign import free_lease
from tests.faults.test_backlog import Poison
from tests.harness import EXCHANGE, Rig
from tests.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.tenant.messages import Answer, Request

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


class Died(BaseException):
    """What a kill leaves behind at some point."""


def live(rig: Rig, days: float, *, every: timedelta = timedelta(hours=12), **options: Any) -> None:
    """Let time pass, with a run now and then."""
    for _ in range(round(timedelta(days=days) / every)):
        rig.tenant.advance(every)
        rig.run(**options)


def looks_name(rig: Rig, source: str = EXCHANGE) -> str:
    return f"looks/{rig.tenant.spec.tenant_id}/{source}.json"


def kinds(rig: Rig, day: date) -> set[str]:
    return {kind for kind, _, _ in rig.reasons(day)}


@pytest.fixture
def states(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """What was logged of changes of states."""
    found: list[dict[str, Any]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("day_state "):
                found.append(json.loads(record.getMessage().removeprefix("day_state ")))

    logger, handler = logging.getLogger("m365.days"), Handler()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_day_of_a_new_feed_vouches_for_its_beginning_and_the_days_before_for_nothing(
    rig: Rig,
) -> None:
    today = rig.at_noon()
    before = rig.offer(created=beginning_of(today) - 3 * DAY + HOUR)
    rig.run()
    live(rig, 8.5)

    states = rig.states()
    # Those before the beginning have a row only where something was listed.
    assert min(states) == before.created.date()
    assert rig.reasons(before.created.date()) == [
        ("before-beginning", beginning_of(min(states)), end_of(min(states)))
    ]
    assert [day for day in states if day < today] == [before.created.date()]
    assert rig.reasons(today) == [
        ("before-beginning", beginning_of(today), beginning_of(today) + 13 * HOUR)
    ]
    assert states[today + DAY] == "final"
    assert not any(row["complete"] for row in rig.day_rows() if row["state"] != "final")


def test_a_day_is_final_only_after_looks_in_the_last_day_before_it_leaves(rig: Rig) -> None:
    rig.has_collected()
    rig.run()
    day = rig.tenant.now().date()
    seen = []
    for _ in range(18):
        live(rig, 0.5)
        seen.append(rig.states()[day])

    order = ["open", "provisional", "final"]
    assert seen == sorted(seen, key=order.index)
    assert seen.count("final") >= 2
    finals = [row for row in rig.day_rows() if row["state"] == "final"]
    assert all(row["looked_until_hours"] >= 143 for row in finals)


def test_a_day_that_nobody_looked_at_again_before_it_left_is_unverified(
    rig: Rig, states: list[dict[str, Any]]
) -> None:
    rig.has_collected(hours_ago=13)
    rig.run()
    live(rig, 4)
    last = rig.tenant.now().date()
    # The app stands still for 8.6 days, in which a content of before appears, and leaves again.
    rig.tenant.offer(
        EXCHANGE,
        created=rig.tenant.now() - 2 * DAY,
        visible_at=rig.tenant.now() + 3 * DAY,
        records=[b'{"Id":"late"}'],
    )
    rig.tenant.advance(timedelta(days=8.6))
    rig.run()

    for day in (last - n * DAY for n in (1, 2, 3)):
        assert rig.states()[day] == "flawed", day
        assert kinds(rig, day) == {"unverified"}
    assert "gap" in kinds(rig, last + DAY)
    woken = {each["day"] for each in states if any(r["kind"] == "gap" for r in each["reasons"])}
    assert str(last - DAY) not in woken
    assert str(last + DAY) in woken


@pytest.mark.parametrize("lost", ["nothing", "checkpoint"])
def test_days_that_left_during_an_outage_are_said_anew_by_a_clock_that_was_right_all_along(
    rig: Rig, lost: str
) -> None:
    rig.has_collected(hours_ago=13)
    rig.run()
    live(rig, 4)
    last = rig.tenant.now().date()
    assert rig.states()[last - DAY] == "provisional"
    rig.tenant.advance(timedelta(days=12))
    if lost == "checkpoint":
        rig.storage.state.delete_blob(rig.checkpoint_name())
    app = rig.app()
    # As if this machine's own clock had moved along.
    ahead = rig.tenant.now() - utc_now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "shared.times.ServiceClock.recall", lambda clock, _: _set_offset(clock, ahead)
        )
        rig.run(app=app)
    app.close()

    for day in (last - n * DAY for n in (1, 2, 3)):
        assert kinds(rig, day) == {"unverified"}, day
    assert "provisional" not in {s for day, s in rig.states().items() if day < last}
    assert kinds(rig, last + DAY) == {"gap"}


def _set_offset(clock: ServiceClock, ahead: timedelta) -> None:
    clock._offset = ahead


def test_days_that_leave_while_nothing_can_be_listed_are_flawed_in_that_very_run(rig: Rig) -> None:
    rig.has_collected(hours_ago=13)
    rig.run()
    first = rig.tenant.now().date()
    rig.tenant.faults.add(Fault(on="token", action="status", status=503, times=-1))
    rig.restart()

    live(rig, 9, every=3 * DAY, tries=1)

    # The service never said what time it is, and moved on by nine days while our own clock did not.
    assert rig.states()[first] == "open"
    (row,) = (each for each in rig.day_rows() if each["RowKey"] == str(first))
    assert row["error_code"]
    rig.tenant.faults.clear()
    rig.tenant.faults.add(Fault(on="list", action="status", status=500, times=-1))
    # MSAL remembers for a minute that it got no token.
    rig.restart()
    rig.run(tries=1)
    assert "gap" in kinds(rig, first + DAY)


def test_a_day_whose_row_and_ledger_are_gone_is_not_complete_again(rig: Rig) -> None:
    rig.has_collected(hours_ago=1)
    day = rig.offer(hours_ago=0.5).created.date()
    rig.run()
    live(rig, 12)
    assert rig.states()[day] == "final"
    # As the collector does after nine days; by this machine's clock they have not passed.
    ledger = LedgerStore(rig.storage.state, f"ledger/{rig.tenant.spec.tenant_id}/{EXCHANGE}")
    ledger.delete(day, ledger.stored()[day])
    rig.storage.table(DAYS_TABLE).delete(f"{rig.tenant.spec.tenant_id}_{EXCHANGE}", after="0")
    rig.restart()

    rig.run()

    for restart in (False, True):
        assert (rig.states()[day], kinds(rig, day)) == ("flawed", {"unverified"})
        if restart:
            rig.restart()
        rig.tenant.advance(timedelta(hours=1))
        rig.run()
    assert (rig.states()[day], kinds(rig, day)) == ("flawed", {"unverified"})


def test_a_feed_that_never_worked_has_a_row_that_says_why(rig: Rig) -> None:
    rig.tenant.faults.add(Fault(on="token", action="status", status=503, times=-1))
    rig.run(tries=1)

    (row,) = rig.day_rows()

    assert row["RowKey"] == str(rig.tenant.now().date())
    assert (row["complete"], row["listed"]) == (False, 0)
    assert row["error_code"]
    assert row["error"]


@pytest.mark.parametrize("how", ["fault", "death"])
def test_the_rows_of_a_gap_come_whatever_kept_them_from_being_written(rig: Rig, how: str) -> None:
    tables = rig.storage_connection.split("TableEndpoint=")[1].partition(";")[0]
    with Proxy(tables) as proxy:
        through = {
            "M365_STORAGE_CONNECTION_STRING": rig.storage_connection.replace(tables, proxy.endpoint)
        }
        rig.has_collected()
        rig.run(settings=through)
        first = rig.tenant.now().date()
        rig.tenant.advance(20 * DAY)
        with pytest.MonkeyPatch.context() as patch:
            # As time really would, this machine's own clock moves along.
            defaults = FeedLedger.__init__.__kwdefaults__
            assert defaults is not None
            patch.setitem(defaults, "wall", lambda: utc_now() + 20 * DAY)
            with pytest.MonkeyPatch.context() as unlucky:
                if how == "fault":
                    proxy.refuse("m365days", status=503, times=-1)
                    assert rig.run(settings=through).gap_seconds
                else:
                    unlucky.setattr(ContentJob, "write_days", _die)
                    with pytest.raises(Died):
                        rig.run(settings=through)
                    free_lease(rig)
            proxy.clear()
            for _ in range(2):
                rig.tenant.advance(timedelta(minutes=10))
                rig.run(settings=through)

    gap = [first + n * DAY for n in range(1, 12)]
    assert all("gap" in kinds(rig, day) for day in gap)
    assert all(not row["complete"] for row in rig.day_rows() if row["RowKey"] <= str(gap[-1]))


def _die(*_: object) -> None:
    raise Died


def test_the_row_of_a_day_comes_although_its_run_died_before_it(rig: Rig) -> None:
    rig.has_collected(hours_ago=30)
    rig.offer_many(5, hours_ago=26)
    day = (rig.tenant.now() - timedelta(hours=26)).date()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContentJob, "write_days", _die)
        with pytest.raises(Died):
            rig.run()
    free_lease(rig)
    assert rig.day_rows() == []

    rig.run()

    rows = {row["RowKey"]: row for row in rig.day_rows()}
    assert sum(row["listed"] for row in rows.values()) == 5
    assert rows[str(day)]["delivered"] > 0


def test_deleting_the_checkpoint_changes_no_state(rig: Rig) -> None:
    rig.has_collected(hours_ago=13)
    rig.run()
    live(rig, 7.5)
    before = rig.states()
    assert "final" in before.values()

    rig.storage.state.delete_blob(rig.checkpoint_name())
    rig.run()

    # The whole horizon was listed again, so a day may be more certain, and none is less.
    order = ["flawed", "open", "provisional", "final"]
    assert all(order.index(rig.states()[day]) >= order.index(was) for day, was in before.items())
    live(rig, 1)
    assert all(rig.states()[day] == "final" for day, state in before.items() if state == "final")
    assert not any("before-beginning" in kinds(rig, day) for day in rig.states())


def test_deleting_the_looks_makes_nothing_more_certain_and_wakes_nobody(
    rig: Rig, states: list[dict[str, Any]]
) -> None:
    rig.has_collected(hours_ago=13)
    rig.run()
    live(rig, 7.5)
    before = rig.states()
    order = ["flawed", "open", "provisional", "final"]
    states.clear()

    rig.storage.state.delete_blob(looks_name(rig))
    rig.run()

    after = rig.states()
    assert all(order.index(after[day]) <= order.index(state) for day, state in before.items())
    assert {day for day, state in after.items() if state == "final"} == {
        day for day, state in before.items() if state == "final"
    }
    live(rig, 8)
    woken = {"gap", "lost", "dead-lettered", "auditing-off"}
    assert not [s for s in states if s["late"] or woken & {r["kind"] for r in s["reasons"]}]
    # And those that came after are final again.
    assert rig.states()[rig.tenant.now().date() - 8 * DAY] == "final"


def test_the_beginning_is_found_beside_the_looks_and_in_the_rows(rig: Rig) -> None:
    rig.run()
    begun = rig.checkpoint().beginning
    assert begun is not None
    for lost in ((rig.checkpoint_name(),), (rig.checkpoint_name(), looks_name(rig))):
        for name in lost:
            rig.storage.state.delete_blob(name)
        rig.tenant.advance(timedelta(hours=5))
        rig.run()
        assert rig.checkpoint().beginning == begun


def test_a_change_of_state_is_logged_once_and_a_row_is_written_only_when_it_changes(
    rig: Rig, states: list[dict[str, Any]]
) -> None:
    rig.at_noon()
    rig.has_collected(hours_ago=5)
    rig.run()
    rows = {row["RowKey"]: row for row in rig.day_rows()}
    logged = len(states)
    assert logged == len(rows)

    rig.tenant.advance(timedelta(seconds=30))
    rig.run()

    # Another slice was looked at again, and that is all that some say anew.
    for row in rig.day_rows():
        before = rows[row["RowKey"]]
        changed = {name for name, value in row.items() if before[name] != value}
        assert changed in (set(), {"looked_until_hours", "updated", "etag"}), (before, row)
    assert len(states) == logged


def test_a_day_that_stays_open_is_late_two_days_after_its_end_and_says_so_once(
    rig: Rig, states: list[dict[str, Any]]
) -> None:
    rig.has_collected(hours_ago=5)
    content = rig.offer(hours_ago=2)
    rig.tenant.faults.add(
        Fault(on="content", action="status", content_id=content.content_id, status=500, times=-1)
    )
    live(rig, 4, tries=1)

    late = [each for each in states if each["late"]]
    assert [each["day"] for each in late] == [str(content.created.date())]
    assert late[0]["state"] == "open"


def test_state_of_an_older_version_is_provisional_at_best_and_wakes_nobody(
    rig: Rig, states: list[dict[str, Any]]
) -> None:
    rig.has_collected(hours_ago=1)
    stored = read_blob(rig.storage.state, rig.checkpoint_name())
    assert stored is not None
    old = json.loads(stored.data)
    del old["beginning"], old["days_closed"]
    old["schema"] = 1
    write_blob(rig.storage.state, rig.checkpoint_name(), json.dumps(old).encode(), etag=stored.etag)
    today, partition = rig.tenant.now().date(), f"{rig.tenant.spec.tenant_id}_{EXCHANGE}"
    for n in range(40):
        rig.storage.table(DAYS_TABLE).upsert(
            {
                "PartitionKey": partition,
                "RowKey": str(today - n * DAY),
                "listed": 3,
                "delivered": 3,
                "complete": n > 0,
            },
        )

    rig.run()

    known = rig.states()
    assert set(known.values()) <= {"unknown", "flawed", "open", "provisional"}
    assert known[today - 20 * DAY] == "unknown"
    assert {known[today - n * DAY] for n in range(1, 7)} == {"provisional"}
    assert not any(row["complete"] for row in rig.day_rows())
    assert (
        json.loads(rig.storage.state.download_blob(rig.checkpoint_name()).readall())["schema"] == 2
    )
    assert not [each for each in states if each["late"]]
    # No day of before is called final by what only the older version saw.
    live(rig, 8)
    assert rig.states()[today - 20 * DAY] == "unknown"
    assert rig.states()[today] == "final"


def test_an_empty_answer_where_something_was_is_asked_for_once_more(rig: Rig) -> None:
    rig.has_collected()
    rig.offer_many(2, hours_ago=2)
    rig.run()
    asked = len(rig.tenant.books.requests("list"))
    rig.tenant.faults.add(Fault(on="list", action="status", status=200, body="[]", times=1))

    assert rig.run().status == "succeeded"

    first, second, *_ = rig.tenant.books.requests("list")[asked:]
    assert first.path == second.path


def test_looks_that_cannot_be_stored_keep_no_checkpoint_from_moving(rig: Rig) -> None:
    rig.has_collected()
    # Somebody holds a lease on the blob.
    blob = rig.storage.state.get_blob_client(looks_name(rig))
    blob.upload_blob(b"{}")
    blob.acquire_lease(lease_duration=-1)

    for _ in range(2):
        rig.tenant.advance(2 * HOUR)
        assert rig.run().status == "succeeded"

    watermark = rig.checkpoint().watermark
    assert watermark is not None
    assert rig.tenant.now() - watermark < timedelta(minutes=1)
    assert rig.checkpoint().looks
    assert not any("gap" in kinds(rig, day) for day in rig.states())


def test_deleted_looks_make_no_hour_certain_that_was_never_listed(rig: Rig) -> None:
    rig.at_noon()
    rig.has_collected()
    rig.run()
    rig.tenant.advance(DAY)
    Poison(rig, rig.tenant.now() - 14 * HOUR, rig.tenant.now() - 16.5 * HOUR)
    for _ in range(4):
        rig.run(tries=1)
        rig.tenant.advance(HOUR)
    day = rig.tenant.now().date() - DAY
    assert rig.states()[day] == "open"
    rig.storage.state.delete_blob(looks_name(rig))

    rig.run(tries=1)

    assert rig.states()[day] == "open"


def test_what_wrong_dates_called_looked_at_is_forgotten(rig: Rig) -> None:
    """They confirm each other; no hour may count as looked at in a week that has not come."""
    rig.at_noon()
    rig.has_collected(hours_ago=13)
    rig.run()
    left = [LEAP_ANSWERS]

    def ahead(request: Request, answer: Answer) -> None:
        if request.kind in ("subscriptions", "list") and left[0]:
            left[0] -= 1
            answer.headers["Date"] = http_date(rig.tenant.now() + 8 * DAY)

    rig.tenant.mangle = ahead
    rig.run(tries=1)
    assert left == [0]
    rig.tenant.advance(HOUR)

    rig.run()
    rig.run()

    days = LookStore(rig.storage.state, looks_name(rig)).load(rig.tenant.now())
    assert days.hours
    assert max(days.hours.values()) <= rig.tenant.now() + MINUTE
    assert all(at <= rig.tenant.now() + MINUTE for *_, at in rig.checkpoint().looks)
