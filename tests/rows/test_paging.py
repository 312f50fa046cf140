"""Adjoining windows over services that filter as they like: no row is passed over, and none has two places."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import Transient
from shared.rows.paging import Largest, Page, list_window
from shared.rows.row import PAGE_REFUSED, PAGING, Asked, Row, digest_of_bytes, whole_ms
from shared.times import Window, whole_second

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, MS, US = timedelta(seconds=1), timedelta(milliseconds=1), timedelta(microseconds=1)
SPAN = 12

Filter = Callable[[datetime, datetime, datetime], bool]
"""Whether a service shows a row of some time to who asks from one time to another."""


def by_the_millisecond(at: datetime, first: datetime, last: datetime) -> bool:
    return first <= whole_ms(at) <= last


def by_every_digit(at: datetime, first: datetime, last: datetime) -> bool:
    return first <= at <= last


def by_the_second(at: datetime, first: datetime, last: datetime) -> bool:
    """What it is asked is cut to whole seconds."""
    return whole_second(first) <= at <= whole_second(last)


PAGE_ROWS = 3


class Service:
    """Lists rows newest first, a few a page; some of its page tokens break, some of its links are missing."""

    def __init__(
        self,
        times: list[datetime],
        shows: Filter = by_the_millisecond,
        *,
        page_rows: int = PAGE_ROWS,
        breaks: Sequence[bool] = (),
        drops: Sequence[bool] | None = None,
        parts: Sequence[int] = (),
    ) -> None:
        self._times = sorted(times, reverse=True)
        self._shows = shows
        self._page_rows = page_rows
        self._breaks = iter(breaks)
        # Only where links may be missing does a full page matter.
        self._drops = None if drops is None else iter(drops)
        self._parts = parts
        self.asked: list[tuple[datetime, datetime]] = []

    def first(self, first: datetime, last: datetime, part: int | None = None) -> str:
        self.asked.append((first, last))
        return json.dumps([first.isoformat(), last.isoformat(), 0, part])

    def ask(self, url: str, first: bool) -> Page:
        if not first and next(self._breaks, False):
            raise Transient("bad token", code=PAGE_REFUSED, status=400)
        start, end, skip, part = json.loads(url)
        low, high = datetime.fromisoformat(start), datetime.fromisoformat(end)
        found = [
            at.isoformat().encode()
            for at in self._times
            if self._shows(at, low, high) and part in (None, at.microsecond % 3)
        ]
        behind = skip + self._page_rows
        link = json.dumps([start, end, behind, part]) if behind < len(found) else None
        rows = found[skip:behind]
        if self._drops is None:
            return Page(rows=rows, link=link)
        full = len(rows) == self._page_rows
        return Page(rows=rows, link=None if next(self._drops, False) else link, full=full)

    def list(self, window: Window) -> list[Row]:
        parts = [functools.partial(self.first, part=each) for each in self._parts]
        pages = list_window(window, self.first, self.ask, read, largest=Largest(), parts=parts)
        return [row for page in pages for row in page]


def read(raw: bytes, asked: Asked) -> tuple[Row, datetime | None]:
    at, moment = asked.place(datetime.fromisoformat(raw.decode()))
    row = Row(
        raw=raw,
        id=raw.decode(),
        received=at,
        digest=digest_of_bytes(raw),
        lasting=(raw.decode(),),
    )
    return row, moment


def time_of(row: Row) -> datetime:
    return datetime.fromisoformat(row.raw.decode())


# Many on the edges of windows and right beside them.
edges = st.builds(
    lambda second, beside: NOON + second * SECOND + beside,
    st.integers(0, SPAN),
    st.sampled_from([timedelta(), MS, -MS, US, -US, 999 * US, -999 * US]),
)
anywhere = st.integers(0, SPAN * 1_000_000).map(lambda us: NOON + us * US)
times = st.lists(edges | anywhere, min_size=1, max_size=30, unique=True).map(
    lambda found: [at for at in found if NOON <= at < NOON + SPAN * SECOND]
)
cuts = st.sets(st.integers(1, SPAN - 1), max_size=SPAN).map(
    lambda found: [
        Window(NOON + start * SECOND, NOON + end * SECOND)
        for start, end in zip([0, *sorted(found)], [*sorted(found), SPAN], strict=True)
    ]
)


def assert_every_row_in_its_place(
    windows: list[Window], times: list[datetime], service: Service
) -> None:
    places: dict[bytes, set[datetime]] = {}
    for window in windows:
        found = service.list(window)
        came = {time_of(row) for row in found}
        assert len(came) == len(found)
        # All of the window, and nothing else but what may lie on its end.
        assert {at for at in times if window.start <= at < window.end} <= came
        assert all(window.start <= at < window.end + MS for at in came)
        for row in found:
            places.setdefault(row.digest, set()).add(row.received)
    assert len(places) == len(times)
    # In whichever window a row comes, it has one time, and so one hour.
    assert all(len(found) == 1 for found in places.values())


@given(times, cuts, st.sampled_from([by_the_millisecond, by_every_digit, by_the_second]))
@settings(max_examples=300, deadline=None)
def test_adjoining_windows_hand_out_every_row_however_a_service_rounds(
    times: list[datetime], windows: list[Window], shows: Filter
) -> None:
    assert_every_row_in_its_place(windows, times, Service(times, shows))


@given(
    times,
    cuts,
    st.sampled_from([by_the_millisecond, by_every_digit]),
    st.lists(st.booleans(), max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_so_they_do_where_page_tokens_break(
    times: list[datetime], windows: list[Window], shows: Filter, breaks: list[bool]
) -> None:
    # Now and then one holds, or a window with more rows in a millisecond than on a page is given up.
    broken = [each for wanted in breaks for each in (wanted, False)]
    try:
        assert_every_row_in_its_place(windows, times, Service(times, shows, breaks=broken))
    except Transient as error:
        if error.code != PAGING:
            raise
        # Where a chain begins anew, it begins with the millisecond above.
        assert max(sum(at - MS <= each <= at + MS for each in times) for at in times) > PAGE_ROWS


@pytest.mark.parametrize("newer", range(1, 8))
def test_more_rows_in_the_millisecond_above_than_on_a_page_are_no_gap(newer: int) -> None:
    times = [NOON, NOON + US, *(NOON + MS + each * US for each in range(newer)), NOON + SECOND]
    chain = -(-len(times) // 3) - 1

    window = Window(NOON, NOON + SPAN * SECOND)
    for holds in range(chain):
        service = Service(times, breaks=[False] * holds + [True])
        assert_every_row_in_its_place([window], times, service)


ALWAYS = [True] * 1000


@given(
    times,
    cuts,
    st.sampled_from([by_the_millisecond, by_every_digit]),
    st.lists(st.booleans(), max_size=20) | st.just(ALWAYS),
    st.sampled_from([(), (0, 1, 2)]),
)
@settings(max_examples=300, deadline=None)
def test_where_links_are_missing_every_row_is_handed_out_or_the_window_is_given_up(
    times: list[datetime],
    windows: list[Window],
    shows: Filter,
    drops: list[bool],
    parts: Sequence[int],
) -> None:
    for window in windows:
        service = Service(times, shows, drops=drops, parts=parts)
        try:
            found = service.list(window)
        except Transient as error:
            if error.code != PAGING:
                raise
            continue
        came = {time_of(row) for row in found}
        assert len(came) == len(found)
        assert {at for at in times if window.start <= at < window.end} <= came


MINUTE = Window(NOON, NOON + 60 * SECOND)


@pytest.mark.parametrize("count", range(1, 14))
def test_a_full_page_without_a_link_is_never_the_last(count: int) -> None:
    times = [NOON + each * SECOND for each in range(count)]
    service = Service(times, drops=ALWAYS)

    found = service.list(MINUTE)

    assert [time_of(row) for row in found] == times[::-1]
    assert len(service.asked) <= 1 + count // 2


def test_a_full_page_of_one_time_is_asked_for_in_parts_and_the_listing_goes_on_below_it() -> None:
    times = [NOON, NOON + SECOND, *(NOON + 2 * SECOND + each * US for each in range(7))]
    service = Service(times, page_rows=4, drops=ALWAYS, parts=(0, 1, 2))

    assert {time_of(row) for row in service.list(MINUTE)} == set(times)


@pytest.mark.parametrize("parts", [pytest.param((), id="none"), pytest.param((0, 1), id="short")])
def test_a_full_page_of_one_time_that_no_part_holds_is_not_passed(parts: Sequence[int]) -> None:
    times = [NOON, *(NOON + 2 * SECOND + each * US for each in range(7))]
    service = Service(times, page_rows=4, drops=ALWAYS, parts=parts)

    with pytest.raises(Transient) as caught:
        service.list(MINUTE)

    assert caught.value.code == PAGING
    assert len(service.asked) < 15


def test_a_part_that_is_a_full_page_of_one_time_is_not_passed() -> None:
    times = [NOON, *(NOON + 2 * SECOND + 3 * each * US for each in range(7))]
    service = Service(times, page_rows=4, drops=ALWAYS, parts=(0, 1, 2))

    with pytest.raises(Transient) as caught:
        service.list(MINUTE)

    assert caught.value.code == PAGING
    assert len(service.asked) < 10


def test_a_window_is_asked_for_with_the_instant_at_which_it_ends() -> None:
    service = Service([])

    service.list(Window(NOON, NOON + SECOND))

    assert service.asked == [(NOON, NOON + SECOND)]


@pytest.mark.parametrize(
    ("moment", "place", "true"),
    [
        pytest.param(NOON, NOON, True, id="first"),
        pytest.param(NOON + SECOND, NOON + SECOND, True, id="last"),
        pytest.param(NOON + SECOND + 999 * US, NOON + SECOND, True, id="last-millisecond"),
        pytest.param(NOON + SECOND + MS, NOON + SECOND, False, id="behind"),
        pytest.param(NOON - US, NOON, False, id="before"),
        pytest.param(None, NOON, False, id="none"),
    ],
)
def test_a_row_lies_inside_what_was_asked_for(
    moment: datetime | None, place: datetime, true: bool
) -> None:
    at, found = Asked.of(Window(NOON, NOON + SECOND)).place(moment)

    assert (at, found) == (place, moment if true else None)
