"""What is written from the table of settings is current, and the sample works on a machine."""

from __future__ import annotations

import json

import pytest
from azure.eventhub import EventHubProducerClient

from scripts.write_settings import BEGIN, END, SAMPLE, TABLE, page, sample
from shared.sources.registry import AUDIT_HUB, SETTINGS, load
from shared.state.account import Storage

MEND = "run: python scripts/write_settings.py"


def test_the_sample_is_current() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == sample(), MEND


def test_the_table_of_settings_is_current() -> None:
    text = TABLE.read_text(encoding="utf-8")

    assert text.count(BEGIN) == text.count(END) == 1
    assert text == page(text), MEND


def test_the_sample_holds_every_setting_and_what_the_functions_host_needs() -> None:
    values = json.loads(sample())["Values"]

    assert values.keys() == {
        "AzureWebJobsStorage",
        "FUNCTIONS_WORKER_RUNTIME",
        *(each.name for each in SETTINGS),
    }
    assert values["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert all(isinstance(value, str) for value in values.values())


def test_the_sample_is_a_valid_configuration_that_the_sdks_understand() -> None:
    settings = load(json.loads(sample())["Values"])

    Storage.from_connection_string(settings.storage_connection_string).close()
    EventHubProducerClient.from_connection_string(
        settings.eventhub_connection_string, eventhub_name=AUDIT_HUB
    ).close()


def test_the_example_of_many_connections_is_valid() -> None:
    text = TABLE.read_text(encoding="utf-8")
    example = text.partition("```json\n")[2].partition("```")[0]

    found = load(
        {
            "M365_CONNECTIONS": example,
            "M365_IDENTITY_CLIENT_ID": "44444444-4444-4444-4444-444444444444",
            "FABRIKAM_CLIENT_SECRET": "b",
            "M365_EVENTHUB_NAMESPACE": "contoso.servicebus.windows.net",
            "M365_STORAGE_ACCOUNT": "contosostate",
        }
    )

    assert [each.name for each in found.connections] == ["contoso", "fabrikam-gov"]


@pytest.mark.parametrize("each", [pytest.param(each, id=each.name) for each in SETTINGS])
def test_no_setting_breaks_the_table(each: object) -> None:
    assert "|" not in str(each)
    assert "\n" not in str(each)
