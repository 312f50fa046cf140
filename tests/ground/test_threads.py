"""Threads work for the invocation that began them, by either way in which a worker asks."""

from __future__ import annotations

import ast
import contextvars
import queue
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.threads import belong_to, carried, results, start_thread

ROOT = Path(__file__).resolve().parents[2]

of_worker: contextvars.ContextVar[str | None] = contextvars.ContextVar("of_worker", default=None)
"""Where the worker of Python 3.13 looks."""


def invoke(name: str, call: object) -> None:
    """What a worker does: run a function in a thread and a context of its own."""
    storage = threading.local()

    def function() -> None:
        of_worker.set(name)
        storage.invocation_id = name
        belong_to(SimpleNamespace(invocation_id=name, thread_local_storage=storage))
        call(lambda: (of_worker.get(), getattr(storage, "invocation_id", None)))  # type: ignore[operator]

    thread = threading.Thread(target=contextvars.Context().run, args=(function,))
    thread.start()
    thread.join()


def test_a_thread_and_the_threads_it_begins_belong_to_the_invocation() -> None:
    seen: list[object] = []

    def function(tag: object) -> None:
        def outer() -> None:
            seen.append(tag())  # type: ignore[operator]
            start_thread(lambda: seen.append(tag()), name="inner").join()  # type: ignore[operator]

        start_thread(outer, name="outer").join()

    for name in ("one", "two"):
        invoke(name, function)

    assert seen == [("one", "one"), ("one", "one"), ("two", "two"), ("two", "two")]


def test_of_a_pool_each_item_belongs_to_it_and_results_come_as_they_are_there() -> None:
    seen: list[object] = []
    late = threading.Event()

    def function(tag: object) -> None:
        def work(item: int) -> tuple[int, object]:
            if item == 0:
                late.wait(30)
            return item, tag()  # type: ignore[operator]

        for result in results(work, range(4), most=2, name="pool"):
            seen.append(result)
            if len(seen) == 3:
                late.set()

    invoke("one", function)

    assert sorted(map(str, seen)) == [str((item, ("one", "one"))) for item in range(4)]
    assert seen[-1] == (0, ("one", "one"))


def test_a_kept_thread_works_for_each_invocation_in_turn_and_for_none_between() -> None:
    work: queue.Queue[object] = queue.Queue()
    seen: list[object] = []
    storage = threading.local()

    def kept() -> None:
        while (call := work.get()) is not None:
            call()  # type: ignore[operator]
            seen.append((of_worker.get(), getattr(storage, "invocation_id", None)))

    thread = threading.Thread(target=contextvars.Context().run, args=(kept,))
    thread.start()
    for name in ("one", "two"):
        invoke(name, lambda tag: work.put(carried(lambda: seen.append(tag()[0]))))
    work.put(None)
    thread.join()

    assert seen == ["one", (None, None), "two", (None, None)]


def test_what_a_call_of_a_pool_raises_comes_out_once_the_others_have_ended() -> None:
    ended: list[int] = []

    def work(item: int) -> None:
        if item == 0:
            raise ValueError("no")
        ended.append(item)

    with pytest.raises(ValueError, match="no"):
        list(results(work, range(3), most=1, name="pool"))

    assert ended in ([], [1], [1, 2])


def test_without_an_invocation_a_thread_just_works() -> None:
    done = threading.Event()
    contextvars.Context().run(lambda: start_thread(done.set, name="alone").join())
    assert done.is_set()


def test_no_thread_is_made_anywhere_else() -> None:
    makers = {"Thread", "Timer", "ThreadPoolExecutor", "ThreadPool", "start_new_thread"}
    files = [
        *ROOT.glob("shared/**/*.py"),
        *ROOT.glob("functions/**/*.py"),
        ROOT / "function_app.py",
    ]
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        if path != ROOT / "shared" / "threads.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Call) and {_name(node.func)} & makers)
        or (isinstance(node, ast.ClassDef) and set(map(_name, node.bases)) & makers)
        or (isinstance(node, ast.ImportFrom) and {each.name for each in node.names} & makers)
    ]
    assert files
    assert found == []


def _name(node: ast.expr) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))
