"""Threads that work for the invocation which began them: the one place where the collector makes any.

Microsoft's worker tags a log line with the invocation that it finds in the context of the thread that logs. The host
drops a line that has no tag, or that of an invocation which is over. A thread of Python inherits no context, so each of
ours enters a copy of its own (one context cannot be entered twice), made where its work is handed out.

On Python 3.13 the worker looks into a context variable. On 3.11 and 3.12 it looks into what is local to the thread,
which the ``context`` of a function can set ("Logging from created threads" in the Python developer reference).

A thread that outlives an invocation has to run each piece of work by ``carried``, made with that piece.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class Invocation(Protocol):
    """What a function's ``context`` says, as far as threads need it."""

    @property
    def invocation_id(self) -> str:
        """Id of this run of the function."""
        ...

    @property
    def thread_local_storage(self) -> Any:
        """Where the worker of Python 3.11 and 3.12 looks for it."""
        ...


_invocation: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar(
    "invocation", default=None
)


def belong_to(invocation: Invocation) -> None:
    """Let what is begun from here on, by this thread or for it, log for an invocation."""
    _invocation.set(invocation)


def carried(call: Callable[P, R]) -> Callable[P, R]:
    """A call that works, in whatever thread, for the invocation in which this is made; for one use."""
    context = contextvars.copy_context()

    @functools.wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.run(_tagged, functools.partial(call, *args, **kwargs))

    return run


def _tagged(call: Callable[[], R]) -> R:
    invocation = _invocation.get()
    if invocation is None:
        return call()
    storage = invocation.thread_local_storage
    before = getattr(storage, "invocation_id", None)
    storage.invocation_id = invocation.invocation_id
    try:
        return call()
    finally:
        storage.invocation_id = before


def start_thread(call: Callable[[], object], *, name: str) -> threading.Thread:
    """Begin a thread; it keeps no process from ending."""
    begun = threading.Thread(target=carried(call), name=name, daemon=True)
    begun.start()
    return begun


def results(call: Callable[[T], R], items: Iterable[T], *, most: int, name: str) -> Iterator[R]:
    """Do something for each of some items, ``most`` at a time; the results as they come.

    Raises:
        Exception: what a call raised, once those that had begun have ended.
    """
    with ThreadPoolExecutor(max_workers=most, thread_name_prefix=name) as pool:
        futures = [pool.submit(carried(call), item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
