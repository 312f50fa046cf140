from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.tether import ChildError, Tether
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).resolve().parents[2]

# A foreign program: it never reads its standard input, and has a child that does not either.
_FOREIGN = """
import subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("pids", grandchild.pid, flush=True)
time.sleep(300)
"""
_OURS = """
from local.tether import await_end, heed_signals
heed_signals()
print("up", flush=True)
try:
    await_end()
finally:
    print("goodbye", flush=True)
"""


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def _alive(pid: int) -> bool:
    # The state, not the mere existence: a zombie that waits for init is gone for our purposes.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip()[:1] not in {"", "Z"}


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _stopped(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.startswith("T")


def test_a_ready_line_is_handed_over() -> None:
    with Tether(_python(_OURS), ready="up") as child:
        assert child.line == "up"
        assert child.running
        assert _alive(child.pid)
    assert not child.running


def test_a_child_of_ours_ends_in_order_when_stopped() -> None:
    with Tether(_python(_OURS), ready="up") as child:
        child.stop()
        assert child.tail.splitlines() == ["up", "goodbye"]
        child.stop()
    assert not _alive(child.pid)


def test_the_environment_is_added_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETHER_OURS", "inherited")
    code = "import os; print('got', os.environ['TETHER_OURS'], os.environ['TETHER_ADDED'])"
    with Tether(_python(code), env={"TETHER_ADDED": "added"}, ready="got") as child:
        assert child.line == "got inherited added"


def test_a_child_that_dies_early_is_quoted() -> None:
    code = "import sys; sys.exit('no licence for port 7')"
    with (
        pytest.raises(ChildError, match=r"(?s)ended before it was ready.*status 1.*licence"),
        Tether(_python(code), ready="up"),
    ):
        pass


def test_a_program_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(ChildError, match="cannot start /no/such/program: No such file"),
        Tether(["/no/such/program"], ready="up"),
    ):
        pass


def test_a_child_that_is_never_ready_is_quoted_and_ended() -> None:
    child = Tether(_python(_FOREIGN), ready="up", timeout_s=3.0, grace_s=0.5)
    with pytest.raises(ChildError, match=r"(?s)not ready within 3 s.*pids \d+") as refused:
        child.start()
    grandchild = int(str(refused.value).split()[-1])
    assert _within(LONG, lambda: not _alive(grandchild))


def test_stopping_a_foreign_program_ends_its_children_too() -> None:
    with Tether(_python(_FOREIGN), ready="pids") as child:
        pids = [child.pid, int(child.line.split()[1])]
        assert all(_alive(pid) for pid in pids)
    assert _within(LONG, lambda: not any(_alive(pid) for pid in pids))


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace() -> None:
    code = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    time.sleep(300)
    """
    with Tether(_python(code), ready="up", grace_s=0.3) as child:
        begun = time.monotonic()
        child.stop()
    assert not _alive(child.pid)
    assert time.monotonic() - begun < LONG


def test_killing_looks_like_a_crash() -> None:
    with Tether(_python(_OURS), ready="up") as child:
        child.kill()
        assert not child.running
        assert "goodbye" not in child.tail


@pytest.mark.parametrize(
    "code", [pytest.param(_OURS, id="ours"), pytest.param(_FOREIGN, id="foreign")]
)
def test_a_paused_child_goes_on_when_resumed(code: str) -> None:
    with Tether(_python(code), ready="") as child:
        child.pause()
        assert _within(LONG, lambda: _stopped(child.pid))
        child.resume()
        assert _within(LONG, lambda: not _stopped(child.pid))
        child.pause()
    assert _within(LONG, lambda: not _alive(child.pid))


def test_a_child_that_has_ended_is_not_signalled() -> None:
    with Tether(_python(_OURS), ready="up") as child:
        child.stop()
        with pytest.raises(RuntimeError, match="is not running"):
            child.pause()


@pytest.mark.parametrize(
    "number", [pytest.param(n, id=n.name) for n in (signal.SIGKILL, signal.SIGTERM)]
)
def test_nothing_outlives_a_parent_that_is_killed(number: signal.Signals) -> None:
    parent_code = f"""
    import sys, time
    from local.tether import Tether
    ours = Tether([sys.executable, "-c", {_OURS!r}], ready="up").start()
    foreign = Tether([sys.executable, "-c", {_FOREIGN!r}], ready="pids").start()
    paused = Tether([sys.executable, "-c", {_FOREIGN!r}], ready="pids").start()
    paused.pause()
    ended = [ours.pid, foreign.pid, foreign.line.split()[1], paused.pid, paused.line.split()[1]]
    print(*ended, flush=True)
    time.sleep(300)
    """
    parent = subprocess.Popen(_python(parent_code), stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    assert parent.stdout is not None
    with parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 5
        assert all(_alive(pid) for pid in pids)
        parent.send_signal(number)
    assert _within(LONG, lambda: not any(_alive(pid) for pid in pids))


def test_a_child_whose_guard_was_killed_is_still_stopped_with_its_children() -> None:
    with Tether(_python(_FOREIGN), ready="pids") as child:
        pids = [child.pid, int(child.line.split()[1])]
        assert child._guard is not None
        child._guard.kill()
    assert _within(LONG, lambda: not any(_alive(pid) for pid in pids))


_STEERED = """
import sys, time
from local.tether import orders
lines = orders()
while (line := lines.get()) != b"end":
    print("heard", line.decode(), flush=True)
    print("so be it", file=sys.stderr, flush=True)
    time.sleep(300 if line == b"sleep" else 0)
sys.exit(3)
"""


def test_a_steered_child_answers_line_by_line_and_is_quoted_when_it_ends() -> None:
    with Tether(_python(_STEERED), steered=True) as child:
        child.say(b"one")
        assert child.hear() == b"heard one\n"
        child.say(b"end")
        with pytest.raises(ChildError, match=r"(?s)ended \(exit status 3\).*so be it"):
            child.hear()
        with pytest.raises(ChildError, match="status 3"):
            child.say(b"more")


def test_a_steered_child_that_says_nothing_is_given_up() -> None:
    with (
        Tether(_python(_STEERED), steered=True) as child,
        pytest.raises(ChildError, match=r"said nothing within 0\.1 s"),
    ):
        child.hear(0.1)


def test_a_steered_child_ends_with_its_input_in_the_middle_of_its_work() -> None:
    with subprocess.Popen(_python(_STEERED), stdin=-1, stdout=-1, cwd=_ROOT) as child:
        assert child.stdin is not None and child.stdout is not None  # noqa: PT018
        child.stdin.write(b"sleep\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"heard sleep\n"
        child.stdin.close()
        assert child.wait(30) == 0


def test_what_is_written_to_standard_error_is_shown_where_that_is_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = "import sys; print('up'); sys.exit('that is why')"
    with Tether(_python(code), ready="up", echo=True) as child:
        assert _within(LONG, lambda: not child.running)
    assert "that is why" in capsys.readouterr().err


def test_a_variable_that_is_none_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETHER_OURS", "inherited")
    code = "import os; print('got', os.environ.get('TETHER_OURS'))"
    with Tether(_python(code), env={"TETHER_OURS": None}, ready="got") as child:
        assert child.line == "got None"
