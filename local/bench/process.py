"""The other end of ``local.bench.child``: starts a measured process, waits until it is warm, lets it go."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import IO, Self

import msgspec

from local.bench.child import Reading, Task
from local.host_process import LAST_WORDS
from local.rig import ROOT

PATIENCE_S = 300.0
_CLOSE_S = 20.0


class BenchError(RuntimeError):
    """A measurement that gives no figure; the message says why."""


class Measured:
    """One measured process, warmed up, for the length of a ``with`` block."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and wait until it is warm.

        Raises:
            BenchError: it ended first, or took too long.
        """
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.bench.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            # Everything is on loopback, which a machine's proxy must not come between.
            env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            # Ctrl-C is for us; it ends with its standard input.
            start_new_session=True,
        )
        try:
            self._ask(msgspec.json.encode(self._task))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        if kind is None and self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._process.stdin.write(b"end\n")
                self._process.stdin.flush()
                self._process.wait(_CLOSE_S)
        self._end()

    def measure(self) -> Reading:
        """Let it work once.

        Raises:
            BenchError: it failed, or took too long.
        """
        reading = msgspec.json.decode(self._ask(b"go"), type=Reading)
        if reading.problem:
            raise BenchError(f"{self._task.kind}: {reading.problem}")
        return reading

    def _ask(self, line: bytes) -> bytes:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            watchdog.cancel()
        if not answer:
            raise BenchError(
                f"the measured process ({self._task.kind}) ended. {self._last_words()}"
            )
        return answer

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process is not None:
                self._process.wait(5)
        words = ""
        if self._log is not None:
            self._log.seek(0)
            words = self._log.read().decode(errors="replace")[-LAST_WORDS:].strip()
        return f"Its last words:\n{words}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_CLOSE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if self._log is not None:
            self._log.close()
