"""The gate: bodies in memory stay within their bound, and waiting for it always ends."""

from __future__ import annotations

import random
import threading
import time

import pytest

from shared.contents.memory import INFLATION, UNKNOWN, Gate
from shared.stop import RunStopped, Stop
from tests.waits import LONG


class Watched(Gate):
    """A gate that remembers the most that it ever held."""

    peak = 0

    def _add(self, size: int) -> None:
        super()._add(size)
        self.peak = max(self.peak, self._used)


@pytest.fixture
def stop() -> Stop:
    return Stop(30)


def test_bodies_that_fit_are_let_in_together(stop: Stop) -> None:
    gate = Watched(100, stop)

    for _ in range(4):
        gate.reservation().announce(25, compressed=False)

    assert gate.peak == 100


def test_a_body_that_does_not_fit_waits_for_room(stop: Stop) -> None:
    gate = Watched(100, stop)
    first, second = gate.reservation(), gate.reservation()
    first.announce(60, compressed=False)
    entered = threading.Event()

    def enter() -> None:
        second.announce(60, compressed=False)
        entered.set()

    thread = threading.Thread(target=enter)
    thread.start()

    assert not entered.wait(0.05)
    first.release()
    assert entered.wait(LONG)
    thread.join(LONG)
    assert gate.peak == 60


def test_a_body_larger_than_the_gate_is_let_in_alone(stop: Stop) -> None:
    gate = Watched(100, stop)
    large, small = gate.reservation(), gate.reservation()
    large.announce(5000, compressed=False)
    entered = threading.Event()

    def enter() -> None:
        small.announce(1, compressed=False)
        entered.set()

    thread = threading.Thread(target=enter)
    thread.start()

    assert not entered.wait(0.05)
    large.release()
    assert entered.wait(LONG)
    thread.join(LONG)
    assert gate.peak == 5000


def test_a_compressed_body_is_reserved_inflated_and_one_of_unknown_length_by_a_guess(
    stop: Stop,
) -> None:
    gate = Watched(10**9, stop)

    gate.reservation().announce(100, compressed=True)
    assert gate._used == 100 * INFLATION
    gate.reservation().announce(0, compressed=False)
    assert gate._used == 100 * INFLATION + UNKNOWN


def test_what_a_body_really_takes_replaces_the_estimate(stop: Stop) -> None:
    gate = Watched(1000, stop)
    one, other = gate.reservation(), gate.reservation()
    one.announce(900, compressed=False)

    one.actual(100)
    other.announce(900, compressed=False)

    assert gate.peak == 1000


def test_announcing_again_gives_back_what_was_held(stop: Stop) -> None:
    gate = Watched(100, stop)
    reservation = gate.reservation()

    for _ in range(3):
        reservation.announce(80, compressed=False)
        assert gate._used == 80
    reservation.release()
    reservation.release()
    gate.reservation().announce(100, compressed=False)

    assert gate.peak == 100


def test_waiting_ends_when_the_run_does(stop: Stop) -> None:
    gate = Watched(100, stop)
    gate.reservation().announce(100, compressed=False)
    threading.Timer(0.05, stop.set).start()

    with pytest.raises(RunStopped):
        gate.reservation().announce(1, compressed=False)


def test_many_threads_never_hold_more_than_the_limit_and_never_lock_each_other_out(
    stop: Stop,
) -> None:
    gate = Watched(1000, stop)
    held = {"now": 0, "most": 0, "alone": 0}
    lock = threading.Lock()
    done: list[int] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            size = chance.choice([10, 200, 999, 1000, 4000])
            reservation = gate.reservation()
            reservation.announce(size, compressed=False)
            with lock:
                held["now"] += size
                held["most"] = max(held["most"], held["now"] if size <= 1000 else 0)
                held["alone"] += size > 1000 and held["now"] > size
            if chance.random() < 0.2:
                time.sleep(0.001)
            with lock:
                held["now"] -= size
            reservation.release()
        done.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)

    assert sorted(done) == list(range(8))
    assert held["most"] <= 1000
    assert held["alone"] == 0
    assert gate.peak == 4000
