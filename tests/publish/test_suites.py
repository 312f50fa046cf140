"""The suites of formats and sinks refuse what has a defect, and nothing that is right."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest

from shared import policy
from shared.errors import CollectorError
from shared.publish.raw import Raw
from tests.adding.drawer import Drawer, Pile
from tests.publish.formats import FormatSuite, everything
from tests.publish.sinks import SinkSuite

if TYPE_CHECKING:
    from shared.publish.format import About, Format, Parcel
    from shared.publish.sink import Batch
    from shared.records import Records

T = TypeVar("T")
Spoil = Callable[["Parcel"], "Parcel"]
Promise = Callable[..., None]

REFUSED = (AssertionError, pytest.fail.Exception, CollectorError)
"""How a test fails: by an assertion, for want of an error, or by the wrong one."""


# -- formats


class Changed:
    """Raw, with something done to its parcels."""

    name = "changed"

    def __init__(self, change: Spoil) -> None:
        self._change = change

    def parcel(self, records: Records, about: About) -> Parcel:
        return self._change(Raw().parcel(records, about))


def pick(parcel: Parcel, at: Sequence[int]) -> Parcel:
    """Some of the events of a parcel, in this order."""

    def of(values: Sequence[T]) -> tuple[T, ...]:
        return tuple(values[each] for each in at)

    return replace(
        parcel,
        bodies=of(parcel.bodies),
        records=of(parcel.records),
        ids=of(parcel.ids),
        columns={name: of(values) for name, values in parcel.columns.items()},
    )


def without(name: str) -> Spoil:
    return lambda parcel: replace(
        parcel, shared={key: value for key, value in parcel.shared.items() if key != name}
    )


class TestWithoutTheFirst(FormatSuite):
    """A format may leave records out, the first too, and use any kind of sequence."""

    @pytest.fixture
    def format(self) -> Format:
        def change(parcel: Parcel) -> Parcel:
            kept = [at for at, body in enumerate(parcel.bodies) if b"Set-Mailbox" not in body]
            return pick(parcel, kept)

        return Changed(change)


class TestAllInTheBody(FormatSuite):
    """A format may say everything in the body."""

    @pytest.fixture
    def format(self) -> Format:
        def change(parcel: Parcel) -> Parcel:
            bodies = [repr(said).encode() + body for _, body, said in everything(parcel)]
            return replace(parcel, bodies=bodies, shared={}, columns={})

        return Changed(change)


FROM = FormatSuite.test_every_event_says_where_it_comes_from
KIND = FormatSuite.test_a_detail_is_told_from_a_record
COLUMNS = FormatSuite.test_every_event_says_what_its_own_columns_say
IDS = FormatSuite.test_every_event_knows_its_record_byte_for_byte_and_keeps_its_id
ORDER = FormatSuite.test_events_stand_in_the_order_of_their_records
COUNTED = FormatSuite.test_every_record_is_an_event_or_counted_as_left_out
STRETCH = FormatSuite.test_a_stretch_says_where_in_its_content_it_stands
NUMBERS = itertools.count()
PURE = FormatSuite.test_the_same_records_give_the_same_parcel_every_time


@pytest.mark.parametrize(
    ("promise", "spoil"),
    [
        pytest.param(FROM, without("connection"), id="no-connection"),
        pytest.param(FROM, without("tenant_id"), id="no-tenant"),
        pytest.param(FROM, without("source"), id="no-source"),
        pytest.param(FROM, without("content_id"), id="no-content"),
        pytest.param(KIND, without("kind"), id="no-kind"),
        pytest.param(COLUMNS, lambda it: replace(it, columns={}), id="no-columns"),
        pytest.param(
            COLUMNS,
            lambda it: replace(it, columns={k: v[::-1] for k, v in it.columns.items()}),
            id="columns-of-another-record",
        ),
        pytest.param(IDS, lambda it: replace(it, ids=it.ids[::-1]), id="ids-of-another-record"),
        pytest.param(IDS, lambda it: replace(it, records=it.records[::-1]), id="other-records"),
        pytest.param(IDS, lambda it: replace(it, ids=list(map(str, it.records))), id="ids-made-up"),
        pytest.param(ORDER, lambda it: pick(it, range(len(it))[::-1]), id="backwards"),
        pytest.param(COUNTED, lambda it: replace(it, count=len(it) - 1), id="miscounted"),
        pytest.param(COUNTED, lambda it: pick(it, ()), id="no-events"),
        pytest.param(COUNTED, lambda it: replace(it, ids=it.ids[1:]), id="an-id-too-few"),
        pytest.param(STRETCH, lambda it: replace(it, first=0), id="first"),
        pytest.param(STRETCH, lambda it: replace(it, last=True), id="last"),
        pytest.param(
            PURE,
            lambda it: replace(it, shared={**it.shared, "at": str(next(NUMBERS))}),
            id="never-alike",
        ),
    ],
)
def test_a_format_with_a_defect_is_refused(promise: Promise, spoil: Spoil) -> None:
    promise(FormatSuite(), Raw())
    with pytest.raises(AssertionError):
        promise(FormatSuite(), Changed(spoil))


# -- sinks


class WithoutProperties(Pile):
    """Keeps the bodies alone."""

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        taken = super().take(parcel, start, stop)
        self.events = [(body, {}) for body, _ in self.events]
        return taken


class WithoutIds(Pile):
    """Keeps what events share, and loses their ids."""

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        taken = super().take(parcel, start, stop)
        for _, properties in self.events:
            properties.pop("event_id", None)
        return taken


class OneId(Pile):
    """Gives every event the id of the first."""

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        return super().take(replace(parcel, ids=["event-0"] * len(parcel)), start, stop)


class Skipping(Pile):
    """Says that it took what it cannot hold."""

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        return super().take(parcel, start, stop) or stop - start


class Greedy(Pile):
    """Takes more than it is offered."""

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        return min(super().take(parcel, start, len(parcel)), stop - start)


class Bad(Drawer):
    """A drawer with other batches."""

    def __init__(self, pile: type[Pile]) -> None:
        super().__init__()
        self._pile = pile

    def new_batch(self) -> Batch:
        return self._pile()


class Silent(Drawer):
    """Says nothing of a failure."""

    def send(self, batch: Batch) -> None:
        if not self.refusals:
            super().send(batch)


class Foreign(Drawer):
    """Fails with an error that is not a sink's."""

    def send(self, batch: Batch) -> None:
        if self.refusals:
            raise policy.error("http-500")
        super().send(batch)


class Late(Drawer):
    """Keeps a batch when the next one comes."""

    def __init__(self) -> None:
        super().__init__()
        self._next: Batch = Pile()

    def send(self, batch: Batch) -> None:
        self._next, due = batch, self._next
        super().send(due)


def keeps(promise: Promise, drawer: Drawer) -> None:
    """Have a drawer keep a promise of the suite."""
    given = {
        "sink": drawer,
        "stored": lambda: list(drawer.kept),
        "broken": lambda: setattr(drawer, "refusals", 1_000_000),
    }
    wanted = [name for name in inspect.signature(promise).parameters if name != "self"]
    promise(SinkSuite(), **{name: given[name] for name in wanted})


TAKES = SinkSuite.test_a_batch_takes_the_events_that_it_is_offered_and_no_other
STORES = SinkSuite.test_what_was_sent_is_stored_when_send_returns
TOO_LARGE = SinkSuite.test_an_empty_batch_takes_nothing_of_an_event_that_it_can_never_hold
PROPERTIES = SinkSuite.test_every_event_carries_the_properties_of_its_parcel_and_its_own
FAILS = SinkSuite.test_what_was_not_acknowledged_is_a_sink_error
SETTLES = SinkSuite.test_a_publisher_settles_nothing_that_was_not_acknowledged


@pytest.mark.parametrize(
    ("promise", "make"),
    [
        pytest.param(PROPERTIES, lambda: Bad(WithoutProperties), id="no-properties"),
        pytest.param(PROPERTIES, lambda: Bad(WithoutIds), id="no-ids"),
        pytest.param(PROPERTIES, lambda: Bad(OneId), id="one-id"),
        pytest.param(TOO_LARGE, lambda: Bad(Skipping), id="skips-what-is-too-large"),
        pytest.param(TAKES, lambda: Bad(Greedy), id="takes-more"),
        pytest.param(STORES, Late, id="late"),
        pytest.param(FAILS, Silent, id="silent"),
        pytest.param(SETTLES, Silent, id="silent-to-the-publisher"),
        pytest.param(FAILS, Foreign, id="another-error"),
        pytest.param(SETTLES, Foreign, id="another-error-to-the-publisher"),
    ],
)
def test_a_sink_with_a_defect_is_refused(promise: Promise, make: Callable[[], Drawer]) -> None:
    keeps(promise, Drawer())
    with pytest.raises(REFUSED):
        keeps(promise, make())
