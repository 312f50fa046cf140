"""What holds for every test.

With REQUIRE_ALL=1 in the environment nothing may be skipped: a run that is to prove everything must
not pass because a part of it was missing.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from local.azurite import Azurite
from local.certs import Certs, make_certs
from shared.stop import Stop
from tests.harness import Rig
from tests.runclock import RunClock
from tests.tracing import TraceRig

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

# A busy machine makes no test fail.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what runs in the background, and every program that is started from there would inherit it: a
    # test that ends one with Ctrl-C would wait in vain.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERVERS = frozenset({"azurite", "certs", "cloud", "gateway", "serve"})
"""Fixtures that start a server, or are there for one."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what opens sockets, so that ``make pythons`` can leave it out."""
    if SERVERS & set(getattr(item, "fixturenames", ())):
        item.add_marker("sockets")


LONGEST = (
    "tests/faults/test_fuzz.py",
    "tests/local/test_bench.py",
    "tests/faults/test_lifetime.py",
    "tests/faults/test_kills.py::test_twenty_kills",
    "tests/faults/test_trace_rows.py::test_five_thousand_and_one",
    "tests/faults/test_trace_service.py",
    "tests/local/test_run.py::test_two_runs_side_by_side",
    "tests/local/test_rig.py::test_the_",
)
"""Begun first, so that no worker is alone with one of them at the end."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest tests at the heads of the shares into which xdist cuts the list, one for each worker."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for name in LONGEST for item in items if item.nodeid.startswith(name)]
    chosen = set(long)
    rest = [item for item in items if item not in chosen]
    total = len(items)
    items.clear()
    for worker in range(workers):
        own = long[worker::workers]
        size = (total - len(items)) // (workers - worker)
        others = max(0, size - len(own))
        items += own + rest[:others]
        del rest[:others]
    items += rest
    assert len(items) == total


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that skips itself, where nothing may be skipped."""
    report = yield
    # An expected failure is reported as skipped too, and is no skip.
    if not hasattr(report, "wasxfail"):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that skips itself while it is imported, where nothing may be skipped."""
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("REQUIRE_ALL") != "1" or not report.skipped:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"REQUIRE_ALL=1 allows no skipped test, and this one was: {reason}"


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    """A certificate authority and a server certificate of the rig."""
    return make_certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """The storage account that the tests of one worker share; each uses a tenant id of its own.

    Of all workers it would be cheaper, but under their load Azurite now and then does not find what is there.
    """
    with Azurite() as running:
        yield running


@pytest.fixture
def make_rig(certs: Certs, azurite: Azurite) -> Iterator[Callable[..., Rig]]:
    """Make rigs whose tenant differs from the default in the given fields of ``TenantSpec``."""
    with ExitStack() as stack:
        yield lambda **spec: stack.enter_context(Rig(certs, azurite.connection_string, **spec))


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A rig with an empty tenant."""
    return make_rig()


@pytest.fixture
def run_clock(monkeypatch: pytest.MonkeyPatch) -> RunClock:
    """The clock by which the runs of the test end."""
    clock = RunClock()
    monkeypatch.setattr("shared.run.lifecycle.Stop", partial(Stop, clock=clock))
    return clock


@pytest.fixture
def collected_before(request: pytest.FixtureRequest) -> None:
    """The Exchange feed of ``rig`` has run before: where a first run is not the question, it is half of the cost."""
    if "rig" in request.fixturenames and "first_run" not in request.keywords:
        rig: Rig = request.getfixturevalue("rig")
        rig.has_collected()


@pytest.fixture
def mail(certs: Certs, azurite: Azurite) -> Iterator[Callable[..., TraceRig]]:
    """Make rigs whose tenant has a message trace, with the given fields of ``TraceSpec``."""
    with ExitStack() as stack:

        def make(**trace: Any) -> TraceRig:
            rig = TraceRig(certs, azurite.connection_string, **trace)
            stack.enter_context(rig)
            return rig

        yield make
