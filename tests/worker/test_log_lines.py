"""Every log line of ours carries the invocation it belongs to: the host drops what carries none, or one that is over.

The handler does what Microsoft's worker does with each line: it takes the id from the context of the thread that logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.tenant import SOURCES, Fault
from shared.sources import registry
from tests.worker.runtime import ROOT, result_of

if TYPE_CHECKING:
    from tests.harness import Rig

SCRIPT = """
import asyncio, json, logging, sys, threading, uuid
from pathlib import Path
import azure_functions_runtime as runtime
import local.worker
from local.worker import Worker, WorkerError

running, seen = set(), []

class Tagger(logging.Handler):
    def emit(self, record):
        tag = runtime.invocation_id_cv.get()
        local = getattr(runtime.bindings.context._invocation_id_local, "invocation_id", None)
        seen.append({
            "logger": record.name, "level": record.levelname, "text": record.getMessage(),
            "thread": threading.current_thread().name, "tag": tag, "local": local, "alive": tag in running,
        })

class Ids:
    # Hands out the ids and knows which of them are running.
    @staticmethod
    def uuid4():
        made = uuid.uuid4()
        running.add(made.hex)
        return made

local.worker.uuid = Ids
logging.getLogger().addHandler(Tagger())
logging.getLogger().setLevel(logging.INFO)
worker = Worker(Path(sys.argv[1]))
functions = worker.load()

async def once(function):
    before = set(running)
    try:
        await worker.invoke_timer(function)
    except WorkerError:
        pass

async def both(functions):
    await asyncio.gather(*(once(each) for each in functions))

for _ in range(2):
    for function in functions:
        worker.loop.run_until_complete(once(function))
        running.clear()
worker.loop.run_until_complete(both(functions[:2]))
running.clear()
worker.close()
print("RESULT " + json.dumps([each for each in seen if each["logger"].startswith("m365")]))
"""


def lines_of(rig: Rig, **settings: str) -> list[dict[str, Any]]:
    """What a process logs that runs each timer twice, and then two at once."""
    found: list[dict[str, Any]] = result_of(SCRIPT, ROOT, settings=rig.values(**settings))
    return found


def test_every_line_of_every_thread_carries_its_running_invocation(rig: Rig) -> None:
    for source in SOURCES:
        rig.offer(source)
        rig.offer(source, records=[b"{", b'{"Id":"x"}'])
        rig.offer(source, records=[b'{"Id":"large","Text":"' + b"x" * 1_100_000 + b'"}'])
    gone = rig.offer(SOURCES[0])
    # An entry that names no content is kept at once, and a warning.
    odd = '[{"contentType":"nothing else"}]'
    rig.tenant.faults.add(
        Fault(on="list", action="status", status=200, body=odd, source=SOURCES[1]),
        Fault(on="content", action="status", status=500, times=-1, content_id=gone.content_id),
    )

    lines = lines_of(rig)

    untagged = [each for each in lines if not each["alive"]]
    assert untagged == []
    assert [each for each in lines if each["tag"] != each["local"]] == []
    threads = {each["thread"].partition("-")[0].partition("_")[0] for each in lines}
    assert {"feed", "fetch", "sender"} <= threads
    assert {"WARNING", "INFO"} <= {each["level"] for each in lines}


def test_the_line_of_a_feed_is_logged_once_by_the_thread_of_its_function(rig: Rig) -> None:
    lines = lines_of(rig)

    of_feeds = [each for each in lines if each["text"].startswith("feed_run ")]
    of_functions = [each for each in lines if each["text"].startswith("source_run ")]
    assert len(of_feeds) == len(of_functions) == 2 * len(registry.SOURCES) + 2
    assert {each["tag"] for each in of_feeds} == {each["tag"] for each in of_functions}
    by_tag = {each["tag"]: each["thread"] for each in of_functions}
    assert all(by_tag[each["tag"]] == each["thread"] for each in of_feeds)
