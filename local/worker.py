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
    from collections.abc import Coroutine
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
    """The runtime with one app loaded.

    Args:
        directory: the app's root, where function_app.py lies.
    """

    def __init__(self, directory: Path) -> None:
        import azure_functions_runtime as runtime

        self._runtime = runtime
        self._directory = str(directory)
        if self._directory not in sys.path:
            # Where the runtime itself puts the app: last, so that a package of the same name would hide it.
            sys.path.append(self._directory)
        self.loop = asyncio.new_event_loop()
        """Runs the runtime's calls; sync functions run in threads of its own."""

    def load(self) -> list[Function]:
        """Index the app and load each of its functions.

        Raises:
            WorkerError: one mistake in an app takes every function of it down, and this is its text.
        """
        self._runtime.start_threadpool_executor()
        where = {"function_app_directory": self._directory}
        failed = "the app could not be started"
        self._run(self._ask(failed, "worker_init_request", capabilities={}, **where))
        failed = "the app could not be indexed"
        answer = self._run(self._ask(failed, "functions_metadata_request", **where))
        found = []
        for metadata in answer.function_metadata_results:
            failed = f"function {metadata.name} could not be loaded"
            about = {"function_id": metadata.function_id, "metadata": metadata}
            self._run(self._ask(failed, "function_load_request", **about))
            bindings = tuple(json.loads(text) for text in metadata.raw_bindings)
            found.append(Function(id=metadata.function_id, name=metadata.name, bindings=bindings))
        return found

    def run_timer(self, function: Function, *, past_due: bool = False) -> None:
        """Invoke a timer function once.

        Raises:
            WorkerError: the function raised.
        """
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
            input_data=[_Binding(name=binding["name"], data=_Typed(json=json.dumps(timer)))],
            trigger_metadata={},
            trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )

    def close(self) -> None:
        """Stop the runtime's threads."""
        self._runtime.stop_threadpool_executor()
        self.loop.close()

    def _run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(call)

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


class _Message:
    """A message: whatever fields it is given."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class _Typed(_Message):
    def WhichOneof(self, _: str) -> str | None:  # noqa: N802 - the name that protobuf gives it
        """Which of the alternatives is set."""
        return next(iter(self.__dict__), None)


class _Binding(_Message):
    def WhichOneof(self, _: str) -> str:  # noqa: N802
        """Which of the alternatives is set."""
        return "data"


class _Protos:
    """Plain classes in the place of Microsoft's protobuf messages."""

    TypedData, ParameterBinding = _Typed, _Binding
    StatusResult = type("_", (_Message,), {"Failure": 0, "Success": SUCCESS, "Cancelled": 2})
    BindingInfo = type("_", (_Message,), {"undefined": 0, "in": 0, "out": 1, "inout": 2})

    def __getattr__(self, name: str) -> type[_Message]:
        return type(name, (_Message,), {})
