"""The writes of a run in their order: every interleaving of two workers, with a death between any two steps.

A small world: one day, two contents of two events each. One is there from the beginning, the other appears late, or is
shown for a moment alone. Time passes at any moment; a look at the last time is late enough. A worker reads what is
stored when it begins, and goes on by that, however old it gets. docs/adr/0009 shows the order as a picture.

What has to hold after every step:

- What a listing showed, and has been published in part, or lies before a look or the watermark, is in the ledger.
- What the ledger calls delivered is at the hub, all of it.
- A final day lacks nothing of what its writer had read, or was there to see at its last look.
- A ledger that is dropped has left all that it said in the row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import pytest

LATE, EARLY = "late", "early"
LISTED, DELIVERED = 1, 2
LAST, GONE, OLD = 2, 3, 4
"""When a look is late enough (the late content appears one before), when nothing is shown any more, and when a ledger
may be dropped. No run lasts the two days between the last two."""

ORDER = ("listed", "publish", "acknowledged", "delivered", "looks", "checkpoint", "row", "drop")
"""What a run writes, after it read what is stored and listed; publishing is two steps, an event of each content."""

Known = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Worker:
    """One run: where it is, and what it goes by."""

    step: int = -2
    view: Known = ()
    seen: frozenset[str] = frozenset()
    at: int = -1
    looked: int = -1
    version: int = 0
    confirmed: Known | None = None
    runs: int = 0


@dataclass(frozen=True)
class World:
    """What is stored, at the hub, and shown."""

    time: int = 0
    ledger: Known = ()
    hub: tuple[tuple[str, int], ...] = ()
    looked: int = -1
    behind: frozenset[str] = frozenset()
    row: tuple[str, Known] | None = None
    version: int = 0
    dropped: Known | None = None
    shown: frozenset[str] = frozenset()
    workers: tuple[Worker, ...] = (Worker(), Worker())


def put(known: Known, content: str, value: int) -> Known:
    return tuple(sorted({**dict(known), content: max(dict(known).get(content, 0), value)}.items()))


def put_all(known: Known, contents: frozenset[str], value: int) -> Known:
    return reduce(lambda so_far, content: put(so_far, content, value), sorted(contents), known)


def visible(time: int, *, once: bool) -> frozenset[str]:
    if time >= GONE:
        return frozenset()
    late = time == LAST - 1 if once else time >= LAST - 1
    return frozenset({EARLY, LATE} if late else {EARLY})


def due(worker: Worker) -> frozenset[str]:
    """What a worker publishes: all that it saw or knew and that its view does not call delivered."""
    known = dict(worker.view)
    return frozenset(c for c in worker.seen | set(known) if known.get(c, 0) < DELIVERED)


def act(
    world: World, worker: Worker, step: str, *, once: bool, unasked: bool
) -> tuple[World, Worker]:
    """Do one step of a run."""
    todo = due(worker)
    if step == "read":
        worker = replace(
            worker, view=world.ledger, looked=world.looked, version=world.version, confirmed=None
        )
    elif step == "list":
        seen = visible(world.time, once=once)
        worker = replace(worker, seen=seen, at=world.time)
        world = replace(world, shown=world.shown | seen)
    elif step == "listed":
        unknown = worker.seen - set(dict(worker.view))
        world = replace(world, ledger=put_all(world.ledger, unknown, LISTED))
    elif step in ("publish", "acknowledged"):
        world = replace(world, hub=put_all(world.hub, todo, 1 if step == "publish" else 2))
    elif step == "delivered":
        world = replace(world, ledger=put_all(world.ledger, todo, DELIVERED))
        worker = replace(worker, view=put_all(worker.view, worker.seen | todo, DELIVERED))
    elif step in ("looks", "checkpoint"):
        world = replace(world, behind=world.behind | worker.seen)
        if step == "looks" and worker.at <= LAST:
            world = replace(world, looked=max(world.looked, worker.at))
            worker = replace(worker, looked=max(worker.looked, worker.at))
    else:
        return close(world, worker, step, unasked=unasked)
    return world, worker


def close(world: World, worker: Worker, step: str, *, unasked: bool) -> tuple[World, Worker]:
    """Write the row, or drop the ledger."""
    if step == "row" and world.version == worker.version:
        # It is written only where it still is what was read.
        view = put_all(worker.view, worker.seen, LISTED)
        if world.row is not None and len(world.row[1]) > len(view):
            # Of a ledger that is gone the row alone knows.
            view = world.row[1]
        done = all(value == DELIVERED for _, value in view)
        state = "final" if done and max(worker.looked, worker.at) >= LAST else "open"
        world = replace(world, row=(state, view), version=world.version + 1)
        worker = replace(worker, confirmed=view, version=world.version)
    elif step == "drop" and may_drop(world, worker, unasked=unasked):
        world = replace(world, dropped=world.ledger, ledger=())
    return world, worker


def may_drop(world: World, worker: Worker, *, unasked: bool) -> bool:
    """Everything is settled and old, and the row that this worker wrote was made of just that."""
    settled = bool(world.ledger) and all(value == DELIVERED for _, value in world.ledger)
    return settled and world.time == OLD and (unasked or worker.confirmed == world.ledger)


def broken(world: World) -> str:
    """What does not hold; "" where all does."""
    ledger = dict(world.dropped or world.ledger)
    hub = dict(world.hub)
    known = set(ledger) | set(dict(world.ledger))
    for content in world.shown:
        if content not in known and 0 < hub.get(content, 0) < 2:
            return f"{content} is published in part, and nobody knows of it"
    if not world.behind <= known:
        return "something lies behind a look or the watermark, and nobody knows of it"
    for content, value in ledger.items():
        if value == DELIVERED and hub.get(content, 0) < 2:
            return f"{content} is called delivered and is not at the hub"
    if world.row is not None and world.row[0] == "final":
        missing = [content for content, _ in world.row[1] if hub.get(content, 0) < 2]
        if missing:
            return f"a final day lacks {missing}"
    said = dict(world.row[1]) if world.row is not None else {}
    if any(said.get(content, 0) < value for content, value in world.dropped or ()):
        return "a ledger was dropped of which the row does not say all"
    return ""


def explore(
    order: tuple[str, ...] = ORDER,
    *,
    once: bool = False,
    unasked: bool = False,
    runs: tuple[int, int] = (1, 1),
) -> str:
    """Walk through every interleaving; the first thing that does not hold, or "".

    Args:
        order: of the writes.
        once: whether the late content is shown for a moment alone.
        unasked: whether a ledger is dropped whatever the row says.
        runs: how often each of the two workers runs.
    """
    steps = ("read", "list", *order)
    todo, met = [World()], {World()}
    while todo:
        world = todo.pop()
        for following in _following(world, steps, once=once, unasked=unasked, runs=runs):
            if following not in met:
                if fault := broken(following):
                    return fault
                met.add(following)
                todo.append(following)
    return ""


def _following(
    world: World,
    steps: tuple[str, ...],
    *,
    once: bool,
    unasked: bool,
    runs: tuple[int, int],
) -> list[World]:
    found = []
    if world.time < GONE or (world.time == GONE and all(w.step == -2 for w in world.workers)):
        found.append(replace(world, time=world.time + 1))
    for number, worker in enumerate(world.workers):
        if worker.runs >= runs[number]:
            continue
        at = worker.step + 2
        after, moved = act(world, worker, steps[at], once=once, unasked=unasked)
        ended = Worker(runs=worker.runs + 1)
        moved = ended if at + 1 == len(steps) else replace(moved, step=worker.step + 1)
        # It goes on, or dies before the step; a row that cannot be written keeps no run from going on.
        ways = [(after, moved), (world, ended)]
        if steps[at] == "row":
            ways.append((world, replace(worker, step=worker.step + 1)))
        for base, becomes in ways:
            workers = tuple(becomes if n == number else w for n, w in enumerate(base.workers))
            found.append(replace(base, workers=workers))
    return found


@pytest.mark.parametrize("once", [False, True], ids=["late", "shown-once"])
def test_whatever_dies_and_however_old_a_view_is_nothing_is_forgotten_or_claimed(
    once: bool,
) -> None:
    assert explore(once=once) == ""


@pytest.mark.soak
def test_so_it_is_with_more_runs() -> None:
    assert explore(runs=(2, 1)) == ""
    assert explore(once=True, runs=(2, 1)) == ""


def swapped(one: str, other: str) -> tuple[str, ...]:
    names = {one: other, other: one}
    return tuple(names.get(name, name) for name in ORDER)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("listed", "publish"),
        ("listed", "looks"),
        ("listed", "checkpoint"),
        ("publish", "delivered"),
        ("acknowledged", "delivered"),
    ],
)
def test_writes_that_must_not_be_swapped_cannot_be(one: str, other: str) -> None:
    assert explore(swapped(one, other))


@pytest.mark.parametrize(("one", "other"), [("looks", "checkpoint"), ("delivered", "looks")])
def test_writes_that_may_be_swapped_can_be(one: str, other: str) -> None:
    assert explore(swapped(one, other)) == ""


def test_a_ledger_is_dropped_only_where_the_row_was_made_of_it() -> None:
    assert explore(unasked=True)
