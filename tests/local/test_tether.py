from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local.tether import ChildError, Tether
from tests.waits import LONG, wait_for

_ROOT = Path(__file__).resolve().parents[2]

# A foreign program: it never reads its standard input, and has a child that does not either.
_FOREIGN = """
import subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("pids", grandchild.pid, flush=True)
time.sleep(300)
"""
_OURS = """
import time
from local.tether import end_with_parent
end_with_parent(lambda: print("goodbye", flush=True))
print("up", flush=True)
time.sleep(300)
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
    with Tether(_python(_OURS), ready="up", cwd=_ROOT) as child:
        assert child.line == "up"
        assert child.running
        assert _alive(child.pid)
    assert not child.running


def test_a_child_is_ready_when_the_callable_says_so() -> None:
    answers = iter([False, False, True])
    with Tether(_python(_OURS), ready=lambda: next(answers), cwd=_ROOT) as child:
        assert child.running
    assert next(answers, None) is None


def test_a_child_of_ours_ends_in_order_when_stopped() -> None:
    with Tether(_python(_OURS), ready="up", cwd=_ROOT) as child:
        child.stop()
        assert child.tail.splitlines() == ["up", "goodbye"]
        child.stop()
    assert not _alive(child.pid)


def test_the_environment_is_added_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETHER_OURS", "inherited")
    code = "import os; print('got', os.environ['TETHER_OURS'], os.environ['TETHER_ADDED'])"
    with Tether(_python(code), env={"TETHER_ADDED": "added"}, ready="got") as child:
        assert child.line == "got inherited added"


@pytest.mark.parametrize(
    "supervised", [pytest.param(False, id="ours"), pytest.param(True, id="foreign")]
)
def test_a_child_that_dies_early_is_quoted(supervised: bool) -> None:
    code = "import sys; sys.exit('no licence for port 7')"
    with (
        pytest.raises(ChildError, match=r"(?s)ended before it was ready.*status 1.*licence"),
        Tether(_python(code), ready="up", supervised=supervised),
    ):
        pass


def test_a_program_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(ChildError, match="cannot start /no/such/program: No such file"),
        Tether(["/no/such/program"], ready="up", supervised=True),
    ):
        pass


def test_a_child_that_is_never_ready_is_quoted_and_ended() -> None:
    def ready() -> bool:
        wait_for(lambda: "pids" in child.tail)
        return False

    child = Tether(_python(_FOREIGN), ready=ready, timeout_s=1.0, supervised=True, grace_s=0.5)
    with pytest.raises(ChildError, match=r"(?s)not ready within 1 s.*pids \d+") as refused:
        child.start()
    grandchild = int(str(refused.value).split()[-1])
    assert _within(LONG, lambda: not _alive(grandchild))


def test_stopping_a_foreign_program_ends_its_children_too() -> None:
    with Tether(_python(_FOREIGN), ready="pids", supervised=True) as child:
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
    with Tether(_python(code), ready="up", supervised=True, grace_s=0.3) as child:
        begun = time.monotonic()
        child.stop()
    assert not _alive(child.pid)
    assert time.monotonic() - begun < LONG


def test_killing_looks_like_a_crash() -> None:
    with Tether(_python(_OURS), ready="up", cwd=_ROOT) as child:
        child.kill()
        assert not child.running
        assert "goodbye" not in child.tail


@pytest.mark.parametrize(
    "supervised", [pytest.param(False, id="ours"), pytest.param(True, id="foreign")]
)
def test_a_paused_child_goes_on_when_resumed(supervised: bool) -> None:
    argv = _python(_FOREIGN if supervised else _OURS)
    with Tether(argv, ready="", supervised=supervised, cwd=_ROOT) as child:
        child.pause()
        assert _within(LONG, lambda: _stopped(child.pid))
        child.resume()
        assert _within(LONG, lambda: not _stopped(child.pid))
        child.pause()
    assert _within(LONG, lambda: not _alive(child.pid))


def test_a_child_that_has_ended_is_not_signalled() -> None:
    with Tether(_python(_OURS), ready="up", cwd=_ROOT) as child:
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
    foreign = Tether([sys.executable, "-c", {_FOREIGN!r}], ready="pids", supervised=True).start()
    paused = Tether([sys.executable, "-c", {_FOREIGN!r}], ready="pids", supervised=True).start()
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


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's death"
)
def test_a_foreign_program_ends_with_a_supervisor_that_is_killed() -> None:
    with Tether(_python(_FOREIGN), ready="pids", supervised=True) as child:
        status = Path(f"/proc/{child.pid}/status").read_text()
        supervisor = next(int(row[5:]) for row in status.splitlines() if row.startswith("PPid"))
        os.kill(supervisor, signal.SIGKILL)
        assert _within(LONG, lambda: not _alive(child.pid))


def test_the_supervisor_runs_from_the_command_line_and_passes_the_exit_status_on() -> None:
    command = [sys.executable, "-m", "local.tether", "--", *_python("raise SystemExit(7)")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=_ROOT) as supervisor:
        assert supervisor.wait(LONG) == 7
