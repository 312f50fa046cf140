"""The link of a reader: `<hub>/ConsumerGroups/<group>/Partitions/<id>`.

Events are sent from the position the client asks for, as far as its credit goes, and new ones
as they are stored. A reader with an owner level (an epoch) ends the readers of its group with a
lower one, or with none, and is itself refused where there is a higher one.
"""

from __future__ import annotations

from typing import Final

from local.eventhubs.frames import Attach
from local.eventhubs.hub import Partition
from local.eventhubs.session import Link, Session

_STOLEN: Final = "amqp:link:stolen"
_SETTLED: Final = 1


class ReaderLink(Link):
    """Sends a partition's events to a client."""

    def __init__(
        self,
        session: Session,
        attach: Attach,
        address: str,
        partition: Partition,
        group: str | None,
    ) -> None:
        super().__init__(session, attach, address)
        self.group = group
        self.epoch: int | None = attach.properties.get("com.microsoft:epoch")
        self.next_sequence_number = partition.position_of(attach.selector)
        self._partition = partition
        self._settled = attach.sender_settle_mode == _SETTLED
        self._credit = 0

    def opened(self) -> None:
        """Take the partition over from readers of a lower owner level, or give way."""
        rivals = [reader for reader in self._partition.readers if reader.group == self.group]
        owners = [reader.epoch for reader in rivals if reader.epoch is not None]
        if owners and (self.epoch is None or max(owners) > self.epoch):
            self.steal("A receiver with a higher epoch exists")
            return
        if self.epoch is not None:
            for rival in rivals:
                rival.steal(f"New receiver with higher epoch of '{self.epoch}' is created")
        self._partition.readers.add(self)

    def credited(self, credit: int) -> None:
        """Send what the new credit allows."""
        self._credit = credit
        if self in self._partition.readers:
            self.pump()

    def pump(self) -> None:
        """Send what is stored and not yet sent, as far as credit goes."""
        events = self._partition.events
        # Nothing is ever removed from the front, so a sequence number is an index.
        while self._credit > 0 and self.next_sequence_number < len(events):
            event = events[self.next_sequence_number]
            self.next_sequence_number += 1
            self._credit -= 1
            self.session.transfer(self, event.as_delivered(), settled=self._settled)
            self.session.wire.namespace.stats.delivered += 1

    def steal(self, description: str) -> None:
        """End: another reader owns the partition now."""
        self.session.detach(self, _STOLEN, description)

    def closed(self) -> None:
        """Stop following the partition."""
        self._partition.readers.discard(self)
