"""A file of JSON lines as a sink: for trying out."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, BinaryIO

from shared import policy

if TYPE_CHECKING:
    from pathlib import Path

    from shared.publish.format import Parcel
    from shared.publish.sink import Batch, Sender

MAX_BATCH_BYTES = 1024 * 1024


class FileSink:
    """A JSON-lines file: the records alone, one a line. For trying out; a line is acknowledged once it is on disk.

    Args:
        path: the file; lines are appended, after a last one that somebody left torn.
    """

    remark = ""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        torn = _ends_torn(path)
        self._file: BinaryIO = path.open("ab")
        if torn:
            self._file.write(b"\n")
        self._lock = threading.Lock()

    def borrow(self) -> Sender:
        """A sender; they all write to the one file."""
        return _FileSender(self._file, self._lock)

    def give_back(self, sender: Sender) -> None:
        """Nothing to keep."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _ends_torn(path: Path) -> bool:
    """Whether a file's last line has no end; a device or a pipe has no last line."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


class _FileBatch:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        for at in range(start, stop):
            body = parcel.bodies[at]
            if self.lines and self.size + len(body) > MAX_BATCH_BYTES:
                return at - start
            # A line break in JSON text can only stand between tokens, where a space means the same. What is no valid
            # JSON stays one line by it, too.
            self.lines.append(body.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")
            self.size += len(body)
        return stop - start


class _FileSender:
    def __init__(self, file: BinaryIO, lock: threading.Lock) -> None:
        self._file = file
        self._lock = lock

    def new_batch(self) -> Batch:
        return _FileBatch()

    def send(self, batch: Batch) -> None:
        assert isinstance(batch, _FileBatch)  # noqa: S101 - this sender made it
        try:
            with self._lock:
                self._file.write(b"".join(batch.lines))
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise policy.error("output-file", detail=error.strerror or "") from error

    def cut(self) -> None:
        pass

    def close(self) -> None:
        pass
