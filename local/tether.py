"""Child processes that cannot outlive the process that started them.

The rig starts a handful of servers, and whatever ends the rig must end them: an exception, Ctrl-C,
a closed terminal, a SIGKILL. Only one thing reaches a child in all of these cases: the kernel
closes the write end of a pipe. So the standard input of every tethered child is such a pipe, and
the end of file on it means that the parent is gone.

A child of our own reads it (`end_with_parent`). A foreign program does not know the rule; it runs
under a small supervisor, this very file (`python -m local.tether -- command ...`), which holds the
command in a session of its own and kills that whole process group when the pipe ends, on SIGTERM,
and when the command itself ends. On Linux the command is also killed by the kernel should the
supervisor be the one that dies.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_TAIL_LINES = 60
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1


class ChildError(RuntimeError):
    """A child ended, or stayed silent, before it was ready; the message quotes its last words."""


class Tether:
    """A child process, from `start` to `stop`, or for the length of a `with` block.

    `ready` says when the child can be used: a text that a line of its output contains (the line is
    then in `line`), a callable that is asked until it returns true, or None for at once. `env` is
    added to our own environment. `supervised` is for programs that do not end by themselves at the
    end of their standard input. `grace_s` is the time a child is given to end in order before it is
    killed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: str | Callable[[], bool] | None = None,
        timeout_s: float = 30.0,
        supervised: bool = False,
        grace_s: float = 5.0,
    ) -> None:
        self.argv = list(argv)
        self.pid = 0
        self.line = ""
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._ready = ready
        self._timeout_s = timeout_s
        self._supervised = supervised
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._output = _Output(ready if isinstance(ready, str) else None)

    def start(self) -> Self:
        """Start the child and wait until it is ready.

        Raises:
            ChildError: It ended first, or was not ready in time. Nothing is left running.
        """
        if self._process is not None:
            raise RuntimeError(f"{self._name()} is already running")
        self._output = _Output(self._ready if isinstance(self._ready, str) else None)
        self._process, self.pid = self._spawn()
        try:
            self._output.read_from(self._process)
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the child and all it started: in order if it will, by force after `grace_s`.

        Harmless when repeated.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if not self._supervised:
            # A paused child would not notice.
            _signal_group(process.pid, signal.SIGCONT)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            # The supervisor spends the grace time on its command and needs a moment of its own.
            process.wait(self._grace_s + (1.0 if self._supervised else 0.0))
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)
        # Whatever the child itself left behind in its group goes too.
        _signal_group(self.pid, signal.SIGKILL)
        process.wait()
        self._output.close()

    def kill(self) -> None:
        """End the child at once, as a crash would: SIGKILL to all of its group."""
        self._signal_running(signal.SIGKILL)
        self.stop()

    def pause(self) -> None:
        """Freeze the child: connections to it stay open and nothing is answered.

        A frozen child of our own would not notice the end of its parent; a supervised one is ended.
        """
        self._signal_running(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused child go on."""
        self._signal_running(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether the child has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def tail(self) -> str:
        """The last lines that the child wrote to its standard output and standard error."""
        return self._output.tail()

    def __enter__(self) -> Self:
        """Start the child."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the child."""
        self.stop()

    def _spawn(self) -> tuple[subprocess.Popen[bytes], int]:
        """Start the process; returns it and the id of the child proper, which leads a group."""
        if not self._supervised:
            process = self._popen(self.argv, ())
            return process, process.pid
        reader, writer = os.pipe()
        with open(reader, "rb") as announced:
            try:
                # By path and isolated: independent of the working directory, and started in 20 ms.
                supervisor = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
                options = ["--grace", str(self._grace_s), "--announce", str(writer)]
                process = self._popen([*supervisor, *options, "--", *self.argv], (writer,))
            finally:
                os.close(writer)
            pid = announced.readline()
        # No announcement: the command could not be started, and the supervisor says why and ends.
        return process, int(pid or process.pid)

    def _popen(self, argv: list[str], pass_fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
        # A session of its own keeps Ctrl-C for the parent, which stops its children in order.
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._env,
            cwd=self._cwd,
            pass_fds=pass_fds,
            start_new_session=True,
        )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not self._is_ready():
            if not self.running:
                self._output.finish()
                if self._is_ready_line():
                    return
                raise ChildError(self._last_words("ended before it was ready"))
            if time.monotonic() > deadline:
                raise ChildError(self._last_words(f"was not ready within {self._timeout_s:g} s"))

    def _is_ready(self) -> bool:
        if isinstance(self._ready, str):
            self._output.found.wait(_POLL_S)
            return self._is_ready_line()
        if self._ready is None or self._ready():
            return True
        time.sleep(_POLL_S)
        return False

    def _is_ready_line(self) -> bool:
        self.line = self._output.line
        return self._output.found.is_set()

    def _last_words(self, what: str) -> str:
        process = self._process
        status = process.poll() if process is not None else None
        ended = f" (exit status {status})" if status is not None else ""
        words = self._output.tail() or "(it wrote nothing)"
        return f"{self._name()} {what}{ended}. Its last words:\n{words}"

    def _name(self) -> str:
        return " ".join(Path(word).name for word in self.argv[:2])

    def _signal_running(self, number: signal.Signals) -> None:
        # The id of a process that has ended may belong to somebody else by now.
        if not self.running:
            raise RuntimeError(f"{self._name()} is not running")
        _signal_group(self.pid, number)


def end_with_parent(then: Callable[[], None] | None = None) -> None:
    """Watch standard input and end this process when the parent is gone; for children of our own.

    `then` is called first, on the watching thread, for an orderly end. After it, and without it,
    the process exits at once.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        try:
            if then is not None:
                then()
        finally:
            os._exit(0)

    threading.Thread(target=watch, name="tether", daemon=True).start()


class _Output:
    """Drains what a child writes, so that it never blocks on a full pipe, and keeps the end."""

    def __init__(self, awaited: str | None) -> None:
        self.found = threading.Event()
        self.line = ""
        self._awaited = awaited
        self._lines: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._readers: list[tuple[threading.Thread, IO[bytes]]] = []

    def read_from(self, process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None  # noqa: S101 - Popen was asked for both
            reader = threading.Thread(target=self._drain, args=(pipe,), name="output", daemon=True)
            reader.start()
            self._readers.append((reader, pipe))

    def tail(self) -> str:
        return "\n".join(self._lines.copy())

    def finish(self) -> None:
        """Wait for what an ended child wrote last; a stray grandchild may hold the pipe open."""
        for reader, _ in self._readers:
            reader.join(1.0)

    def close(self) -> None:
        self.finish()
        for reader, pipe in self._readers:
            if not reader.is_alive():
                pipe.close()
        self._readers = []

    def _drain(self, pipe: IO[bytes]) -> None:
        for raw in pipe:
            text = raw.decode(errors="replace").rstrip()
            self._lines.append(text)
            if self._awaited is not None and not self.found.is_set() and self._awaited in text:
                self.line = text
                self.found.set()


def _supervise(argv: Sequence[str], grace_s: float, announce: int | None) -> int:
    """Run `argv` until it, or standard input, ends or SIGTERM comes; returns a shell's status."""
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    told_to_end = threading.Event()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    signal.signal(signal.SIGINT, lambda *_: told_to_end.set())
    try:
        command = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_death_with(os.getpid()),
        )
    except OSError as error:
        print(f"cannot start {argv[0]}: {error.strerror}", file=sys.stderr)
        return 127
    if announce is not None:
        os.write(announce, b"%d\n" % command.pid)
        os.close(announce)
    while command.poll() is None and not told_to_end.is_set():
        readable, _, _ = select.select([0, wake_reader], [], [])
        if wake_reader in readable:
            os.read(wake_reader, 4096)
        if 0 in readable and not os.read(0, 4096):
            break
    _end_group(command, grace_s)
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def _end_group(command: subprocess.Popen[bytes], grace_s: float) -> None:
    if command.poll() is None and grace_s > 0:
        _signal_group(command.pid, signal.SIGTERM)
        # A paused command would never see it.
        _signal_group(command.pid, signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(grace_s)
    _signal_group(command.pid, signal.SIGKILL)
    command.wait()


def _signal_group(leader: int, number: signal.Signals) -> None:
    # PermissionError is how macOS reports a group that only holds ended processes.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _death_with(supervisor: int) -> Callable[[], None] | None:
    """What the command does before it becomes itself: ask to be killed when its parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # It may have died between the fork and the request.
        if os.getppid() != supervisor:
            os._exit(1)

    return ask


def _main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.tether",
        description="Run a command that ends when standard input does.",
    )
    parser.add_argument("--grace", type=float, default=5.0, help="seconds it has to end in order")
    parser.add_argument("--announce", type=int, help="a descriptor to write its process id to")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    return _supervise(options.command, options.grace, options.announce)


if __name__ == "__main__":
    sys.exit(_main())
