"""The backlog: what was never listed is behind the watermark, in here, or a gap; what fails keeps nothing waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from shared.contents.backlog import CUT, MOST, Backlog, Due, narrowest, parts
from shared.contents.content import ContentPolicy
from shared.state.checkpoint import Checkpoint
from shared.times import Window

if TYPE_CHECKING:
    from shared.state.checkpoint import HeldCheckpoint

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
POLICY = ContentPolicy(horizon=7 * DAY, slice=6 * HOUR, cycle=DAY, max_width=DAY)


class Held:
    """A checkpoint in memory, and how often it was changed."""

    def __init__(self) -> None:
        self.value = Checkpoint()
        self.moves = 0

    def move_soon(self, **changes: Any) -> None:
        self.value = msgspec.structs.replace(self.value, **changes)
        self.moves += 1


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def backlog(held: Held) -> Backlog:
    return Backlog(cast("HeldCheckpoint", held), POLICY)


def at(hour: float) -> datetime:
    return MIDNIGHT + hour * HOUR


def hours(start: float, end: float) -> Window:
    return Window(at(start), at(end))


def due(start: float, end: float, *, new: bool = True) -> Due:
    return Due(hours(start, end), new=new, moves={"watermark": at(end), "cursor": at(end)})


def listed_of(backlog: Backlog, until: datetime | None = None) -> list[Window]:
    """What is asked for where everything is listed."""
    asked: list[Window] = []

    def is_listed(window: Window) -> bool:
        asked.append(window)
        return True

    backlog.work_off(is_listed, lambda: False, until)
    return asked


# -- what is put in


@pytest.mark.parametrize(
    ("mark", "new", "unlisted", "relist"),
    [
        pytest.param(None, True, [(2, 6)], [], id="never-anything"),
        pytest.param(0, True, [(2, 6)], [], id="all-new"),
        pytest.param(2, True, [(2, 6)], [], id="adjoining"),
        pytest.param(3, True, [(3, 6)], [(2, 3)], id="an-overlap"),
        pytest.param(9, True, [], [(2, 6)], id="behind-the-watermark"),
        pytest.param(None, False, [], [(2, 6)], id="listed-again"),
        pytest.param(3, False, [], [(2, 6)], id="listed-again-beyond-the-watermark"),
    ],
)
def test_only_what_lies_beyond_the_watermark_was_never_listed(
    backlog: Backlog,
    held: Held,
    mark: float | None,
    new: bool,
    unlisted: list[tuple[float, float]],
    relist: list[tuple[float, float]],
) -> None:
    held.value = Checkpoint(watermark=None if mark is None else at(mark))

    backlog.put(due(2, 6, new=new))

    assert backlog.unlisted == tuple(hours(*each) for each in unlisted)
    assert backlog.relist == tuple(hours(*each) for each in relist)


def test_what_is_put_in_twice_or_side_by_side_is_one_range(backlog: Backlog) -> None:
    for start, end in [(2, 6), (2, 6), (6, 8), (10, 12)]:
        backlog.put(due(start, end))

    assert backlog.unlisted == (hours(2, 8), hours(10, 12))


@pytest.mark.parametrize(
    ("mark", "new", "moved"),
    [
        pytest.param(None, True, True, id="first"),
        pytest.param(5, True, True, id="on"),
        pytest.param(6, True, False, id="there-already"),
        pytest.param(7, True, False, id="never-back"),
        pytest.param(7, False, True, id="another-cursor"),
    ],
)
def test_the_watermark_follows_and_never_goes_back(
    backlog: Backlog, held: Held, mark: float | None, new: bool, moved: bool
) -> None:
    held.value = Checkpoint(watermark=None if mark is None else at(mark))
    moves = {"watermark": at(6)} if new else {"cursor": at(6)}

    backlog.move_past(Due(hours(2, 6), new=new, moves=moves))

    assert held.moves == moved
    if moved:
        assert {getattr(held.value, name) for name in moves} == {at(6)}


@pytest.mark.parametrize("near", [1, 11, 12])
def test_of_more_than_a_checkpoint_holds_the_nearest_become_one(
    backlog: Backlog, held: Held, near: int
) -> None:
    # Two hours apart, but for one that follows after an hour.
    starts = [3 * n for n in range(near)] + [3 * n - 1 for n in range(near, MOST + 1)]
    known = tuple((at(each), at(each + 1)) for each in starts)
    held.value = Checkpoint(unlisted=known[:-1])

    backlog.put(due(starts[-1], starts[-1] + 1))

    one = (at(starts[near - 1]), at(starts[near] + 1))
    assert held.value.unlisted == (*known[: near - 1], one, *known[near + 1 :])
    assert len(held.value.unlisted) == MOST


def test_as_many_as_a_checkpoint_holds_stay_apart(backlog: Backlog, held: Held) -> None:
    held.value = Checkpoint(unlisted=tuple((at(2 * n), at(2 * n + 1)) for n in range(MOST - 1)))

    backlog.put(due(2 * MOST, 2 * MOST + 1))

    assert len(backlog.unlisted) == MOST


# -- what is taken out


def test_what_was_listed_leaves_both_and_anything_else_changes_nothing(
    backlog: Backlog, held: Held
) -> None:
    held.value = Checkpoint(unlisted=((at(2), at(6)),), relist=((at(0), at(1)), (at(5), at(8))))

    backlog.done(hours(10, 12))
    assert held.moves == 0
    backlog.done(hours(4, 7))

    assert held.moves == 1
    assert backlog.unlisted == (hours(2, 4),)
    assert backlog.relist == (hours(0, 1), hours(7, 8))


def test_what_waits_is_asked_for_in_slices_and_single_seconds_first(
    backlog: Backlog, held: Held
) -> None:
    second = (at(1), at(1) + SECOND)
    two = (at(30), at(30) + 2 * SECOND)
    held.value = Checkpoint(unlisted=(second, (at(4), at(14))), relist=((at(2), at(3)), two))

    first, *others = listed_of(backlog)

    assert first == Window(*second)
    assert sorted(others) == [hours(2, 3), hours(4, 10), hours(10, 14), Window(*two)]
    assert (backlog.unlisted, backlog.relist) == ((), ())


@pytest.mark.parametrize(
    ("until", "left"),
    [
        pytest.param(1, [], id="nothing"),
        pytest.param(4, [(2, 4)], id="a-part"),
        pytest.param(9, [(2, 6), (8, 9)], id="both"),
    ],
)
def test_what_was_created_before_a_time_can_be_asked_for_alone(
    backlog: Backlog, held: Held, until: float, left: list[tuple[float, float]]
) -> None:
    held.value = Checkpoint(unlisted=((at(2), at(6)),), relist=((at(8), at(10)),))

    assert sorted(listed_of(backlog, at(until))) == [hours(*each) for each in left]


def test_of_what_is_due_the_pieces_that_do_not_wait_are_left_and_the_last_moves_all(
    backlog: Backlog, held: Held
) -> None:
    held.value = Checkpoint(unlisted=((at(3), at(4)),), relist=((at(6), at(7)),))
    whole = due(2, 9)

    pieces = backlog.around(whole)

    assert [each.window for each in pieces] == [hours(2, 3), hours(4, 6), hours(7, 9)]
    assert [each.moves for each in pieces] == [
        {"watermark": at(3)},
        {"watermark": at(6)},
        whole.moves,
    ]
    assert all(each.new for each in pieces)


def test_what_moves_no_watermark_moves_nothing_before_its_last_piece(
    backlog: Backlog, held: Held
) -> None:
    held.value = Checkpoint(unlisted=((at(3), at(4)),))

    first, last = backlog.around(Due(hours(2, 6), new=False, moves={"cursor": at(6)}))

    assert (first.moves, last.moves) == ({}, {"cursor": at(6)})


# -- ranges


def test_of_windows_that_hold_others_the_others_are_the_narrowest() -> None:
    windows = [hours(2, 6), hours(3, 5), hours(1, 4), hours(5, 7), hours(3, 5)]
    assert narrowest(windows) == windows[1:]


@pytest.mark.parametrize(
    ("seconds", "widths"),
    [
        pytest.param(1, [1], id="a-second-stays-whole"),
        pytest.param(2, [1, 1], id="two"),
        pytest.param(7, [1] * 7, id="seven"),
        pytest.param(8, [2] * CUT, id="eight"),
        pytest.param(10, [2] * 5, id="ten"),
        pytest.param(240, [60] * CUT, id="minutes"),
    ],
)
def test_what_cannot_be_listed_is_cut_into_quarters_of_a_second_at_least(
    seconds: int, widths: list[int]
) -> None:
    found = parts(Window(MIDNIGHT, MIDNIGHT + seconds * SECOND))

    assert [(each.end - each.start) / SECOND for each in found] == widths
    assert (found[0].start, found[-1].end) == (MIDNIGHT, MIDNIGHT + seconds * SECOND)
