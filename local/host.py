"""The collector's process: takes the place of the Functions host around the real function app.

`python -m local.host` lets Microsoft's own Functions runtime index `function_app` and run its timer functions for the
sources that the settings in its environment enable. It is steered by JSON lines on standard input: `{"do": "round"}`
runs them all once, at the same time; `{"do": "end"}` and the end of the input end the process. On standard output it
answers with JSON lines whose `event` is `ready`, `progress` (a growing run summary), `summary` (a complete one),
`failed` (a function raised), `round` (all functions have returned) or `ended`. Everything that is logged goes to
standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import logging
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shared.app
from local import worker
from local.tether import ROOT, orders
from shared.errors import ConfigError
from shared.publish.file import FileSink
from shared.sources.registry import SOURCES, load

if TYPE_CHECKING:
    from shared.config.settings import Settings
    from shared.state.run_summary import RunSummary

PROGRESS_EVERY_S = 0.2
Timer = Callable[[], None]
Speak = Callable[..., None]  # writes a JSON line: the event, and what belongs to it


def _is_worth_it(record: logging.LogRecord) -> bool:
    """Azure's libraries say much about every request, some to the root logger, and nothing that a run does not say."""
    noisy = record.name == "root" or record.name.partition(".")[0] == "azure"
    return record.levelno >= logging.ERROR or not noisy


def main(argv: Sequence[str] | None = None) -> int:
    """Serve commands until told to end; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.host")
    parser.add_argument("--sink", type=Path, help="a JSON-lines file in the place of Event Hubs")
    parser.add_argument("--verbose", action="store_true", help="log every run")
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_worth_it)
    lock = threading.Lock()

    def speak(event: str, **fields: Any) -> None:
        with lock:
            print(json.dumps({"event": event, **fields}), flush=True)

    try:
        settings = load(os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    sink = FileSink(options.sink) if options.sink else None
    app = shared.app.App(settings, sink=sink, on_progress=_reporter(speak))
    shared.app.use(app)
    timers = timer_functions(settings)
    speak("ready", pid=os.getpid(), functions=sorted(timers))
    commands = orders()
    while json.loads(commands.get())["do"] != "end":
        _run_round(timers, speak)
        speak("round", peak_memory_mb=memory_mb("VmHWM"))
    app.close()
    speak("ended")
    return 0


def timer_functions(settings: Settings) -> dict[str, Timer]:
    """The app's timer functions, by name, for every source that a connection has switched on.

    Where Microsoft's own runtime is installed (Python 3.13) it indexes the app and runs them, as in Azure; elsewhere
    they are called as they are.
    """
    wanted = {each.setting.lower() for each in SOURCES if settings.connections_for(each.name)}
    found = _through_runtime() if worker.available() else _called_as_they_are()
    return {name: call for name, call in found.items() if name in wanted}


def _through_runtime() -> dict[str, Timer]:
    runtime = worker.Worker(ROOT)
    functions = runtime.load()
    threading.Thread(target=runtime.loop.run_forever, name="runtime", daemon=True).start()

    def call(function: worker.Function) -> None:
        asyncio.run_coroutine_threadsafe(runtime.invoke_timer(function), runtime.loop).result()

    return {each.name: functools.partial(call, each) for each in functions}


def _called_as_they_are() -> dict[str, Timer]:
    from azure.functions.timer import TimerRequest

    import function_app

    timer, functions = TimerRequest(past_due=False), function_app.app.get_functions()
    return {
        str(each.get_function_name()): functools.partial(each.get_user_function(), timer)
        for each in functions
    }


def memory_mb(figure: str) -> float:
    """The memory that this process has resident (``VmRSS``), or the most that it has had (``VmHWM``), in megabytes."""
    status = Path("/proc/self/status")
    # The kernel's other figure, ru_maxrss, begins with what the parent had when it started us.
    found = re.search(rf"{figure}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found is not None:
        return round(int(found[1]) / 1024, 1)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def _reporter(speak: Speak) -> Callable[[RunSummary], None]:
    """Passes summaries on: every complete one, and growing ones no oftener than an eye can follow."""
    last: dict[str, float] = {}

    def report(summary: RunSummary) -> None:
        if summary.ended:
            speak("summary", summary=summary.fields())
        elif time.monotonic() - last.get(summary.run, 0.0) >= PROGRESS_EVERY_S:
            last[summary.run] = time.monotonic()
            speak("progress", summary=summary.fields())

    return report


def _run_round(timers: dict[str, Timer], speak: Speak) -> None:
    def call(name: str) -> None:
        try:
            timers[name]()
        except Exception as error:  # noqa: BLE001 - the platform, too, logs whatever a function raises and goes on
            speak("failed", function=name, error=f"{error}" or type(error).__name__)

    with ThreadPoolExecutor(max_workers=max(1, len(timers))) as pool:
        list(pool.map(call, timers))


if __name__ == "__main__":
    sys.exit(main())
