"""Processes: started, waited for, steered, and ended with the process that started them; and the other end of that.

A child has a session of its own, so that Ctrl-C reaches the parent alone, which stops its children in order. Whatever
else ends the parent, SIGKILL too, the kernel closes its pipes. That wakes a guard: a small shell that a child announces
itself to before it becomes its program, and that then ends the child's whole group, be it a foreign program or paused.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
_KEPT_LINES, _QUOTED_LINES = 1000, 60
_POLL_S = 0.02
_GUARD = (
    'read -r g && { read -r _; kill -TERM "-$g"; kill -CONT "-$g"; sleep 2; kill -KILL "-$g"; }'
)


class ChildError(RuntimeError):
    """A child ended, or stayed silent, when it should not; the message quotes its last words."""


class Tether:
    """A child process, from `start` to `stop`, or for the length of a `with` block.

    Args:
        argv: the program and its arguments; it runs in the root of the repository.
        env: is added to our own environment; None takes a variable away.
        ready: a text in a line of its output that says that it can be used (the line is then in `line`).
        timeout_s: how long that may take.
        grace_s: how long it may take to end in order before it is killed.
        steered: it takes lines (`say`) and answers with lines on its standard output (`hear`).
        echo: what it writes to its standard error is shown on ours, too.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        ready: str | None = None,
        timeout_s: float = 30.0,
        grace_s: float = 5.0,
        steered: bool = False,
        echo: bool = False,
    ) -> None:
        self.argv = list(argv)
        self.pid = 0
        self.line = ""
        self._env = {k: v for k, v in {**os.environ, **(env or {})}.items() if v is not None}
        self._ready, self._timeout_s, self._grace_s = ready, timeout_s, grace_s
        self._steered, self._echo = steered, echo
        self._guard: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []
        self._begin()

    def start(self) -> Self:
        """Start the child and wait until it is ready; after a ``ChildError`` nothing is left running."""
        if self._guard is not None:
            raise RuntimeError(f"{self._name} is already running")
        self._begin()
        try:
            self._spawn()
            if self._ready is not None:
                self.line = self._await(self._ready)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the child and all it started, in order if it will, by force after `grace_s`. Harmless when repeated."""
        if self._process is not None:
            _signal_group(self._process, signal.SIGTERM)
            # A paused child would not notice.
            _signal_group(self._process, signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_s)
        self._end()

    def kill(self) -> None:
        """End the child at once, as a crash would."""
        self._signal(signal.SIGKILL)
        self._end()

    def pause(self) -> None:
        """Freeze the child: connections to it stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused child go on."""
        self._signal(signal.SIGCONT)

    def say(self, line: bytes) -> None:
        """Give a steered child a line; a ``ChildError`` says that it has ended."""
        try:
            if self._process is not None:
                _stdin(self._process).write(line + b"\n")
                _stdin(self._process).flush()
        except BrokenPipeError:
            raise self._error("ended") from None

    def hear(self, timeout_s: float | None = None) -> bytes:
        """The next line of a steered child; a ``ChildError`` says that it has ended, or said nothing in time."""
        try:
            line = self._heard.get(timeout=timeout_s)
        except queue.Empty:
            raise self._error(f"said nothing within {timeout_s:g} s") from None
        if not line:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._process is not None:
                    self._process.wait(5)
            raise self._error("ended")
        return line

    @property
    def running(self) -> bool:
        """Whether the child has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def tail(self) -> str:
        """The last lines that it wrote; of a steered child, to its standard error."""
        return "\n".join(self._lines.copy())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _begin(self) -> None:
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)

    def _spawn(self) -> None:
        pipe = subprocess.PIPE
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD], stdin=pipe, stderr=subprocess.DEVNULL, start_new_session=True
        )
        ear = _stdin(self._guard).fileno()
        try:
            self._process = subprocess.Popen(
                self.argv,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env=self._env,
                cwd=ROOT,
                start_new_session=True,
                preexec_fn=lambda: os.write(ear, b"%d\n" % os.getpid()),
            )
        except OSError as error:
            raise ChildError(f"cannot start {self.argv[0]}: {error.strerror}") from error
        self.pid = self._process.pid
        out = self._heard.put if self._steered else self._note
        for stream, take in ((self._process.stdout, out), (self._process.stderr, self._note)):
            reader = threading.Thread(target=_drain, args=(stream, take), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _end(self) -> None:
        """Kill the group, and with it whatever the child left behind."""
        if self._process is not None:
            _signal_group(self._process, signal.SIGKILL)
        if self._guard is not None:
            self._guard.kill()
        for process in (self._process, self._guard):
            if process is not None:
                process.wait()
                with contextlib.suppress(BrokenPipeError):
                    _stdin(process).close()
        self._finish()
        self._process = self._guard = None
        self._readers = []

    def _finish(self) -> None:
        """Wait for what an ended child wrote last; a stray grandchild may hold the pipe open."""
        for reader in self._readers:
            reader.join(1.0)

    def _note(self, raw: bytes) -> None:
        if raw:
            text = raw.decode(errors="replace").rstrip()
            self._lines.append(text)
            if self._echo:
                print(text, file=sys.stderr)

    def _await(self, text: str) -> str:
        deadline = time.monotonic() + self._timeout_s
        while True:
            ended = not self.running
            if ended:
                self._finish()
            for line in self._lines.copy():
                if text in line:
                    return line
            if ended:
                raise self._error("ended before it was ready")
            if time.monotonic() > deadline:
                raise self._error(f"was not ready within {self._timeout_s:g} s")
            time.sleep(_POLL_S)

    def _error(self, what: str) -> ChildError:
        status = self._process.poll() if self._process is not None else None
        if status is not None:
            self._finish()
        ended = f" (exit status {status})" if status is not None else ""
        words = "\n".join([*self._lines.copy()][-_QUOTED_LINES:]) or "(it wrote nothing)"
        return ChildError(f"{self._name} {what}{ended}. Its last words:\n{words}")

    @property
    def _name(self) -> str:
        words = self.argv[2:3] if self.argv[1:2] == ["-m"] else self.argv[:2]
        return " ".join(Path(word).name for word in words)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self._name} is not running")
        self._process.send_signal(number)


class ThreadedServer(socketserver.ThreadingTCPServer):
    """A server on a thread of its own, until the `with` block is left."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, handler: type[socketserver.BaseRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.port = int(self.server_address[1])

    def __enter__(self) -> Self:
        # A wake-up costs next to nothing, and leaving the block may take as long as one poll.
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_S,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join(10)
        self.server_close()


class Servers(ExitStack):
    """Servers that are started together, for the length of a `with` block; where one fails, none is left running."""

    def __enter__(self) -> Self:
        try:
            self.begin()
        except BaseException:
            self.close()
            raise
        return self

    def begin(self) -> None:
        """What is done on entering."""
        raise NotImplementedError

    def start_all(self, *servers: Tether) -> None:
        """Start them at the same time."""
        for server in servers:
            self.callback(server.stop)
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(lambda server: server.start(), servers))


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this repository."""
    return [sys.executable, "-m", name, *arguments]


def heed_signals() -> None:
    """Let SIGTERM and Ctrl-C end this server in order, as an exception would; the second one does not disturb that."""

    def leave(*_: object) -> None:
        _handle_signals(signal.SIG_IGN)
        raise SystemExit(0)

    _handle_signals(leave)


def await_end() -> None:
    """Serve until standard input ends. Not sys.stdin: its lock would be held while the interpreter ends."""
    while os.read(0, 65_536):
        pass
    _handle_signals(signal.SIG_IGN)


def _handle_signals(how: Callable[..., None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, how)


def orders() -> queue.SimpleQueue[bytes]:
    """The lines on standard input as they come; at its end this process ends, in the middle of its work too."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with open(0, "rb", closefd=False) as given:
            for line in given:
                lines.put(line.rstrip(b"\n"))
        # Nobody is left to work for.
        os._exit(0)

    threading.Thread(target=read, name="orders", daemon=True).start()
    return lines


def _drain(stream: IO[bytes], take: Callable[[bytes], object]) -> None:
    """Read what a child writes, so that it never blocks on a full pipe; b"" is the end."""
    with stream:
        for raw in stream:
            take(raw)
    take(b"")


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None  # noqa: S101 - Popen was asked for it
    return process.stdin


def _signal_group(leader: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # PermissionError is how macOS reports a group that only holds ended processes.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, number)
