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
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
        self._loop = asyncio.new_event_loop()

    def load(self) -> list[Function]:
        """Index the app and load each of its functions.

        Raises:
            WorkerError: one mistake in an app takes every function of it down, and this is its text.
        """
        self._runtime.start_threadpool_executor()
        answer = self._ask(
            "worker_init_request", capabilities={}, function_app_directory=self._directory
        )
        _raise_for(answer, "the app could not be started")
        answer = self._ask("functions_metadata_request", function_app_directory=self._directory)
        _raise_for(answer, "the app could not be indexed")
        found = []
        for metadata in answer.function_metadata_results:
            loaded = self._ask(
                "function_load_request", function_id=metadata.function_id, metadata=metadata
            )
            _raise_for(loaded, f"function {metadata.name} could not be loaded")
            bindings = tuple(json.loads(text) for text in metadata.raw_bindings)
            found.append(Function(id=metadata.function_id, name=metadata.name, bindings=bindings))
        return found

    def run_timer(self, function: Function, *, past_due: bool = False) -> None:
        """Invoke a timer function once.

        Raises:
            WorkerError: the function raised.
        """
        self._loop.run_until_complete(self.invoke_timer(function, past_due=past_due))

    async def invoke_timer(self, function: Function, *, past_due: bool = False) -> None:
        """The same, for a caller that runs several functions at once on ``loop``."""
        timer = {"IsPastDue": past_due, "Schedule": {}, "ScheduleStatus": {}}
        (binding,) = function.bindings
        answer = await self._ask_async(
            "invocation_request",
            invocation_id=uuid.uuid4().hex,
            function_id=function.id,
            input_data=[_Binding(name=binding["name"], data=_Typed(json=json.dumps(timer)))],
            trigger_metadata={},
            trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        _raise_for(answer, f"function {function.name} failed")

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the runtime's calls run on; sync functions run in the runtime's own threads."""
        return self._loop

    def close(self) -> None:
        """Stop the runtime's threads."""
        self._runtime.stop_threadpool_executor()
        self._loop.close()

    def _ask(self, name: str, **fields: Any) -> Any:
        return self._loop.run_until_complete(self._ask_async(name, **fields))

    async def _ask_async(self, name: str, **fields: Any) -> Any:
        request = SimpleNamespace(
            name=name,
            request=SimpleNamespace(**{name: SimpleNamespace(**fields)}),
            properties={"protos": _protos(), "host": "127.0.0.1"},
        )
        return await getattr(self._runtime, name)(request)


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


_MESSAGES = (
    "WorkerInitResponse",
    "WorkerMetadata",
    "FunctionMetadataResponse",
    "RpcFunctionMetadata",
    "RpcRetryOptions",
    "FunctionLoadResponse",
    "InvocationResponse",
    "RpcException",
    "RpcHttp",
    "RpcHttpCookie",
    "NullableString",
    "NullableBool",
    "NullableDouble",
    "NullableTimestamp",
    "FunctionEnvironmentReloadResponse",
)


def _protos() -> SimpleNamespace:
    """Plain classes in the place of Microsoft's protobuf messages."""
    status = type("StatusResult", (_Message,), {"Failure": 0, "Success": SUCCESS, "Cancelled": 2})
    binding = type("BindingInfo", (_Message,), {"undefined": 0, "in": 0, "out": 1, "inout": 2})
    others = {name: type(name, (_Message,), {}) for name in _MESSAGES}
    return SimpleNamespace(
        StatusResult=status,
        BindingInfo=binding,
        TypedData=_Typed,
        ParameterBinding=_Binding,
        **others,
    )


def _raise_for(answer: Any, what: str) -> None:
    if answer.result.status != SUCCESS:
        exception = getattr(answer.result, "exception", None)
        raise WorkerError(f"{what}: {getattr(exception, 'message', 'no reason given')}")
