"""Microsoft's own Functions runtime, driven in this process without a host.

From Python 3.13 on, Azure Functions runs an app through the package ``azure_functions_runtime``. It takes its messages
as plain objects, so it can index this app and run its functions just as it does in Azure. What it leaves to the host
and is not covered here: schedules, ``%SETTING%`` in them, host.json, scale.

The runtime keeps one app per process in module globals: one ``Worker`` a process.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import uuid
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SUCCESS = 1


class WorkerError(RuntimeError):
    """The runtime refused the app or a function failed; the text is the runtime's."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function as the runtime indexed it: its name and its bindings as the host would get them."""

    id: str
    name: str
    bindings: tuple[dict[str, Any], ...]


def available() -> bool:
    """Whether the runtime is installed (it exists from Python 3.13 on)."""
    return importlib.util.find_spec("azure_functions_runtime") is not None


class Worker:
    """The runtime with one app loaded, whose function_app.py lies in ``directory``."""

    def __init__(self, directory: Path) -> None:
        import azure_functions_runtime as runtime

        self._runtime = runtime
        self._directory = str(directory)
        if self._directory not in sys.path:
            # Where the runtime itself puts the app: last, so that a package of the same name would hide it.
            sys.path.append(self._directory)
        # Runs the runtime's calls; sync functions run in threads of its own.
        self.loop = asyncio.new_event_loop()
        self._run = self.loop.run_until_complete

    def load(self) -> list[Function]:
        """Index the app and load each of its functions; one mistake in an app takes every function of it down."""
        self._runtime.start_threadpool_executor()
        where = {"function_app_directory": self._directory}
        failed = "the app could not be started"
        self._run(self._ask(failed, "worker_init_request", capabilities={}, **where))
        index = self._ask("the app could not be indexed", "functions_metadata_request", **where)
        found = []
        for metadata in self._run(index).function_metadata_results:
            failed = f"function {metadata.name} could not be loaded"
            about = {"function_id": metadata.function_id, "metadata": metadata}
            self._run(self._ask(failed, "function_load_request", **about))
            bindings = tuple(json.loads(text) for text in metadata.raw_bindings)
            found.append(Function(id=metadata.function_id, name=metadata.name, bindings=bindings))
        return found

    def run_timer(self, function: Function, *, past_due: bool = False) -> None:
        """Invoke a timer function once; a ``WorkerError`` says that it raised."""
        self._run(self.invoke_timer(function, past_due=past_due))

    async def invoke_timer(self, function: Function, *, past_due: bool = False) -> None:
        """The same, for a caller that runs several functions at once on ``loop``."""
        timer = {"IsPastDue": past_due, "Schedule": {}, "ScheduleStatus": {}}
        (binding,) = function.bindings
        await self._ask(
            f"function {function.name} failed",
            "invocation_request",
            invocation_id=uuid.uuid4().hex,
            function_id=function.id,
            input_data=[_Typed(data=_Typed(json=json.dumps(timer)), name=binding["name"])],
            trigger_metadata={},
            trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )

    def close(self) -> None:
        """Stop the runtime's threads."""
        self._runtime.stop_threadpool_executor()
        self.loop.close()

    async def _ask(self, failed: str, name: str, **fields: Any) -> Any:
        request = SimpleNamespace(
            name=name,
            request=SimpleNamespace(**{name: SimpleNamespace(**fields)}),
            properties={"protos": _Protos(), "host": "127.0.0.1"},
        )
        answer = await getattr(self._runtime, name)(request)
        if answer.result.status != SUCCESS:
            exception = getattr(answer.result, "exception", None)
            raise WorkerError(f"{failed}: {getattr(exception, 'message', 'no reason given')}")
        return answer


class _Typed(SimpleNamespace):
    def WhichOneof(self, _: str) -> str | None:
        """Which of the alternatives is set, by the name that protobuf gives it: the field that was given first."""
        return next(iter(self.__dict__), None)


class _Protos:
    """Plain classes in the place of Microsoft's protobuf messages."""

    TypedData = ParameterBinding = _Typed
    StatusResult = type("_", (SimpleNamespace,), {"Failure": 0, "Success": SUCCESS, "Cancelled": 2})
    BindingInfo = type("_", (SimpleNamespace,), {"undefined": 0, "in": 0, "out": 1, "inout": 2})

    def __getattr__(self, name: str) -> type[SimpleNamespace]:
        return type(name, (SimpleNamespace,), {})
