"""The way out of a closed network: what is looked up once stays what requests would have found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests

from shared.network import azure_transport

if TYPE_CHECKING:
    import pytest

HOSTS = ("https://one.example/a?b=c", "https://two.example/a", "https://one.example/d")


def test_the_environment_is_looked_at_once_a_host_and_says_the_same_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "two.example")
    plain, session = requests.Session(), azure_transport({}).session
    assert session is not None

    def found(by: requests.Session, url: str) -> object:
        return by.merge_environment_settings(url, {}, None, True, None)

    expected = [found(plain, url) for url in HOSTS]
    assert [found(session, url) for url in HOSTS] == expected
    assert expected[0] != expected[1]

    # What a caller does with the answer is not found by the next one, and the environment is not asked again.
    session.merge_environment_settings(HOSTS[0], {}, None, True, None)["proxies"].clear()
    monkeypatch.delenv("HTTPS_PROXY")
    assert [found(session, url) for url in HOSTS] == expected
