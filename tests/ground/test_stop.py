"""The end of a run: whichever comes first, and the first reason is kept."""

from __future__ import annotations

import threading
import time

import pytest

from shared.errors import SinkError, Transient
from shared.stop import RunStopped, Stop
from tests.waits import LONG


class Time:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_run_takes_work_until_its_time_is_used_up() -> None:
    clock = Time()
    stop = Stop(10, clock=clock)

    clock.now += 9.9
    assert not stop()
    stop.raise_if_set()

    clock.now += 0.1
    assert stop()
    assert stop.deadline_passed
    assert stop.error is None
    with pytest.raises(RunStopped) as caught:
        stop.raise_if_set()
    assert caught.value.code == "stopped"


def test_the_first_error_is_kept() -> None:
    stop = Stop(60)
    first = SinkError("first")

    stop.set(first)
    stop.set(Transient("second"))

    assert stop()
    assert stop.error is first
    assert not stop.deadline_passed


def test_an_error_that_follows_a_plain_stop_is_kept() -> None:
    stop = Stop(60)
    error = SinkError("why")

    stop.set()
    stop.set(error)

    assert stop.error is error


def test_a_watched_condition_ends_the_run() -> None:
    lost: list[bool] = []
    stop = Stop(60)
    stop.watch(lambda: bool(lost))

    assert not stop()
    lost.append(True)
    assert stop()


def test_waiting_ends_with_the_run() -> None:
    stop = Stop(60)
    threading.Timer(0.05, stop.set).start()

    began = time.monotonic()
    stop.wait(10 * LONG)

    assert time.monotonic() - began < LONG


@pytest.mark.parametrize("seconds", [10 * LONG, -1.0])
def test_waiting_never_outlasts_the_deadline(seconds: float) -> None:
    stop = Stop(0.05)

    began = time.monotonic()
    stop.wait(seconds)

    assert time.monotonic() - began < LONG
