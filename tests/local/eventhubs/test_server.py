"""The stand-in as an object: what it leaves behind."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from local.eventhubs import EventHubs
from local.eventhubs.server import ADDRESS
from tests.waits import LONG

if TYPE_CHECKING:
    from local.certs import Certs


class Knocking(threading.Thread):
    """A client that connects again and again until it is told to end."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.connected, self.over = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(OSError):
                socket.create_connection((ADDRESS, self._port), timeout=1).close()
                self.connected.set()


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_server_that_stops_while_clients_connect_leaves_no_connection_open() -> None:
    for _ in range(20):
        with EventHubs({"hub": 1}) as hubs:
            clients = [Knocking(hubs.port) for _ in range(3)]
            for each in clients:
                each.start()
            assert all(each.connected.wait(LONG) for each in clients)
        for each in clients:
            each.over.set()
            each.join()
    # Whatever was left says so when it is collected, which fails the test.
    gc.collect()


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_server_that_stops_cuts_a_client_that_has_not_shaken_hands(certs: Certs) -> None:
    files = (str(certs.cert_file), str(certs.key_file))
    with EventHubs({"hub": 1}, tls=files) as hubs:
        client = socket.create_connection((ADDRESS, hubs.port), timeout=LONG)
        # Another one has come after it, so it was accepted.
        socket.create_connection((ADDRESS, hubs.port), timeout=LONG).close()
        time.sleep(0.1)
    with client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    gc.collect()
