"""The parent's end of `local.host`: starts it, orders rounds, hears how they go.

Its environment holds the app settings of the run and none that happen to be set on this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from local.tether import ChildError, Tether, module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Summary = dict[str, Any]
"""The fields of a `shared.state.run_summary.RunSummary`."""


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
    """One collector process, for the length of a `with` block, which raises `ChildError` where it ends by itself."""

    def __init__(
        self, settings: Mapping[str, str], *, sink: Path | None = None, verbose: bool = False
    ) -> None:
        ours = dict.fromkeys(name for name in os.environ if name.upper().startswith("M365_"))
        options = ["--sink", str(sink.resolve())] if sink is not None else []
        argv = module("local.host", *options, *(["--verbose"] if verbose else []))
        env = {**ours, **settings}
        self._child = Tether(argv, env=env, grace_s=20.0, steered=True, echo=verbose)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as started:
            started.enter_context(self._child)
            self._hear("ready")
            started.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # In order after a good run, at once after anything else.
        if kind is None:
            with contextlib.suppress(ChildError):
                self._child.say(b'{"do": "end"}')
                self._hear("ended")
        self._child.stop()

    def round(self, on_progress: Callable[[Summary], None]) -> Round:
        """Call every timer function once and wait for all of them."""
        done = Round()

        def note(message: Mapping[str, Any]) -> None:
            if message["event"] == "failed":
                done.failures.append(f"{message['function']}: {message['error']}")
                return
            on_progress(message["summary"])
            if message["event"] == "summary":
                done.summaries.append(message["summary"])

        self._child.say(b'{"do": "round"}')
        done.peak_memory_mb = float(self._hear("round", note)["peak_memory_mb"])
        return done

    def _hear(
        self, awaited: str, other: Callable[[Mapping[str, Any]], None] = lambda _message: None
    ) -> Mapping[str, Any]:
        """Pass messages on until the awaited one comes."""
        while True:
            message: dict[str, Any] = json.loads(self._child.hear())
            if message["event"] == awaited:
                return message
            other(message)
