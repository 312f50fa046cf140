"""Encoded sections are, byte for byte, what the SDK's own way gives; else they are not used."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.eventhub import EventDataBatch
from azure.eventhub._pyamqp._encode import encode_payload
from hypothesis import given
from hypothesis import strategies as st

from local.azurite import find_node
from local.eventhubs import EventHubs
from shared.publish import framing
from shared.publish.event_hubs import EventHubSink
from tests.publish.parcels import parcel
from tests.publish.test_sinks import TestEventHubs as OfEventHubs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.publish.format import Parcel

ROOT = Path(__file__).resolve().parents[2]
KEY = "5a3e7c1d-0000-4000-8000-000000000001"
KEYS = pytest.mark.parametrize("key", [None, KEY, "é" * 100], ids=["no-key", "key", "long-key"])


def batch(key: str | None, size: int = 1 << 20) -> Any:
    return EventDataBatch(max_size_in_bytes=size, partition_key=key)


def state(batch: Any) -> tuple[object, ...]:
    sections = [bytes(each) for each in batch._message[5]]
    rest = [part for at, part in enumerate(batch._message) if at != 5]
    return sections, rest, batch.size_in_bytes, len(batch)


def frame(key: str | None) -> bytes:
    found = framing.frame_of(key)
    assert found is not None, "the pinned SDK has to be known"
    return found


text = st.text(max_size=300)


@st.composite
def parcels(draw: st.DrawFn) -> Parcel:
    count = draw(st.integers(1, 6))
    several = st.lists(text, min_size=count, max_size=count)
    return framing._parcel(
        draw(st.lists(st.binary(max_size=600), min_size=count, max_size=count)),
        draw(several),
        draw(st.dictionaries(text, text, max_size=4)),
        draw(st.dictionaries(text.map("column {}".format), several, max_size=2)),
    )


@KEYS
@given(parcel=parcels(), size=st.integers(200, 6000))
def test_a_batch_holds_the_same_bytes_and_ends_at_the_same_event(
    key: str | None, parcel: Parcel, size: int
) -> None:
    theirs, ours = batch(key, size), batch(key, size)
    fit = 0
    while fit < len(parcel) and framing.add(theirs, parcel, fit):
        fit += 1

    assert framing.extend(ours, frame(key), parcel, 0, len(parcel)) == fit
    assert state(ours) == state(theirs)


@KEYS
def test_a_batch_is_filled_in_several_goes_and_after_events_of_the_other_way(
    key: str | None,
) -> None:
    events = parcel(*(b"%d" % n * 90 for n in range(9)), source="Audit.Exchange")
    theirs, ours = batch(key), batch(key)
    for at in range(9):
        assert framing.add(theirs, events, at)

    assert framing.extend(ours, frame(key), events, 0, 4) == 4
    assert framing.add(ours, events, 4)
    assert framing.extend(ours, frame(key), events, 5, 9) == 4

    assert state(ours) == state(theirs)


@KEYS
def test_a_client_that_is_not_the_sdk_reads_what_was_meant(key: str | None) -> None:
    """Framing that only our own stand-in understands would be found by the first customer."""
    samples = list(framing._samples())
    batches = []
    for sample in samples:
        ours, output = batch(key), bytearray()
        assert framing.extend(ours, frame(key), sample, 0, len(sample)) == len(sample)
        encode_payload(output, ours._message)
        batches.append(output.hex())

    modules = ROOT / ".cache" / "node" / "node_modules"
    done = subprocess.run(
        [str(find_node()), str(ROOT / "tests" / "publish" / "rhea_decode.cjs"), str(modules)],
        input=json.dumps(batches),
        capture_output=True,
        text=True,
        check=True,
    )

    about = {"content_type": framing.CONTENT_TYPE, "durable": key is not None}
    annotations = {} if key is None else {"x-opt-partition-key": key}
    for sample, events in zip(samples, json.loads(done.stdout), strict=True):
        assert events == [
            {
                "body": sample.bodies[at].hex(),
                "properties": sample.properties(at),
                "annotations": annotations,
                **about,
            }
            for at in range(len(sample))
        ]


def test_the_sdk_reads_back_body_properties_key_and_order() -> None:
    bodies = [b"x" * length for length in (1, 255, 256, 70_000)]
    events = parcel(*bodies, source="Audit.Exchange", connection="é" * 200)
    with EventHubs({"audit": 1}) as hubs:
        sink = EventHubSink(
            "audit", connection_string=hubs.connection_string("audit"), partition_key=KEY
        )
        sender = sink.borrow()
        filled = sender.new_batch()
        assert filled.take(events, 0, 4) == 4
        sender.send(filled)
        sender.close()

        found = hubs.events("audit")

    assert [each.body for each in found] == bodies
    assert [each.properties for each in found] == [events.properties(at) for at in range(4)]
    assert {each.partition_key for each in found} == {KEY}


@pytest.fixture
def unknown_sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A release of the SDK that writes something else, or counts otherwise."""
    add = EventDataBatch.add

    def other(self: Any, event: Any) -> None:
        event.message_id = "a release that gives every event one"
        add(self, event)

    monkeypatch.setattr(EventDataBatch, "add", other)
    # The frame is a sample of the SDK itself: it has to be known from somewhere else.
    known = framing._sample(None)[0].replace(b"\xa1$a release that gives every event one", b"@")
    monkeypatch.setattr(framing, "_sample", lambda _: (known, batch(None)))
    framing.frame_of.cache_clear()
    framing._agrees.cache_clear()
    yield
    framing.frame_of.cache_clear()
    framing._agrees.cache_clear()


@pytest.mark.usefixtures("unknown_sdk")
def test_what_is_encoded_in_a_way_that_is_not_known_is_left_to_the_sdk(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert framing.frame_of(None) is None
    assert framing.frame_of(None) is None
    assert caplog.text.count("encodes in a way that is not known here") == 1


@pytest.mark.usefixtures("unknown_sdk")
class TestOneByOne(OfEventHubs):
    """Event Hubs passes what every sink must in the SDK's own way, too."""


@pytest.mark.parametrize("count", ["_size", "_count", "_message"])
def test_a_release_without_what_is_reached_into_is_not_known(
    monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    made = framing._batch

    def without(*args: Any) -> Any:
        found = made(*args)
        vars(found)[f"renamed{count}"] = vars(found).pop(count)
        return found

    monkeypatch.setattr(framing, "_batch", without)
    framing._agrees.cache_clear()

    assert framing._agrees(None) is False

    framing._agrees.cache_clear()
