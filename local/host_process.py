"""The parent's end of `local.host`: starts it, orders rounds, hears how they go.

The child's standard input is a pipe that only we hold, so that it ends when we do, whatever ends us. Its environment
holds the app settings of the run and none that happen to be set on this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from local.rig import ROOT

LAST_WORDS = 2000
_CLOSE_S = 20.0

Summary = dict[str, Any]
"""The fields of a `shared.state.run_tables.RunSummary`."""


class HostError(RuntimeError):
    """The collector's process ended by itself; the message quotes its last words."""


@dataclass(kw_only=True)
class Round:
    """What one round of all timer functions did."""

    summaries: list[Summary] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    peak_memory_mb: float = 0.0

    @property
    def skipped(self) -> list[str]:
        """Sources of feeds that somebody else was busy with."""
        return [str(each["source"]) for each in self.summaries if each["status"] == "skipped"]

    @property
    def errors(self) -> list[str]:
        """What went wrong, a sentence each."""
        ran = [f"{each['source']}: {each['error']}" for each in self.summaries if each["error"]]
        ran += [f"{each}: another process has this feed's lease." for each in self.skipped]
        # A function that raises because of its feeds only repeats what their summaries say.
        return ran or self.failures


class HostProcess:
    """One collector process, for the length of a `with` block."""

    def __init__(
        self, settings: Mapping[str, str], *, sink: Path | None = None, verbose: bool = False
    ) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("M365_")}
        self._env = {**inherited, **settings}
        self._argv = [sys.executable, "-m", "local.host"]
        self._argv += ["--sink", str(sink.resolve())] if sink is not None else []
        self._argv += ["--verbose"] if verbose else []
        self._verbose = verbose
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and wait until it has loaded the function app.

        Raises:
            HostError: it ended first.
        """
        self._log = None if self._verbose else tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=self._env,
            cwd=ROOT,
            # Ctrl-C is for us; we end it in order.
            start_new_session=True,
        )
        try:
            self._hear("ready", lambda _kind, _message: None)
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
        """End it: in order after a good run, at once after anything else."""
        if kind is None:
            with contextlib.suppress(OSError, HostError):
                self._say("end")
                self._hear("ended", lambda _kind, _message: None)
        self._end()

    def round(self, on_progress: Callable[[Summary], None]) -> Round:
        """Call every timer function once and wait for all of them.

        Raises:
            HostError: the process ended.
        """
        done = Round()

        def note(kind: str, message: Mapping[str, Any]) -> None:
            if kind == "failed":
                done.failures.append(f"{message['function']}: {message['error']}")
            elif kind in ("progress", "summary"):
                on_progress(message["summary"])
                if kind == "summary":
                    done.summaries.append(message["summary"])

        self._say("round")
        done.peak_memory_mb = float(self._hear("round", note)["peak_memory_mb"])
        return done

    def _say(self, command: str) -> None:
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018
        try:
            self._process.stdin.write(json.dumps({"do": command}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise HostError(self._last_words()) from None

    def _hear(
        self, awaited: str, other: Callable[[str, Mapping[str, Any]], None]
    ) -> Mapping[str, Any]:
        """Pass messages on until the awaited one comes."""
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018
        for line in self._process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["event"] == awaited:
                return message
            other(message["event"], message)
        raise HostError(self._last_words())

    def _last_words(self) -> str:
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process is not None:
                process.wait(5)
        words = "(see above)"
        if self._log is not None:
            self._log.seek(0)
            words = self._log.read().decode(errors="replace")[-LAST_WORDS:].strip()
        status = None if process is None else process.returncode
        return f"the collector's process ended (exit status {status}). Its last words:\n{words}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(_CLOSE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if self._log is not None:
            self._log.close()
