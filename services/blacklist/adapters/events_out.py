"""Changes of the list as events for the others."""

from collections.abc import Sequence

from citycard.blacklist.v1 import blacklist_pb2 as pb
from citycard.blacklist.v1 import events_pb2 as events_pb

from libs.runtime.outbox import Outbox
from services.blacklist.domain.chain import Change


def change_to_event(change: Change) -> events_pb.BlacklistChanged:
    """The event of one version. A card that is only to be ignored is one that nobody must refuse: not added."""
    refused = change.added and change.listing.mode.refuses
    event = events_pb.BlacklistChanged(
        version=change.version,
        card_number=change.card.number,
        scheme=change.card.scheme,
        generation=change.card.generation,
        added=refused,
        # The numbers of both enums are those of the interchange file.
        reason=pb.ListReason.ValueType(change.listing.reason),
        mode=pb.ListMode.ValueType(change.listing.mode),
    )
    event.effective_time.FromDatetime(change.holds_from if refused or not change.added else change.create_time)
    event.report_time.FromDatetime(change.listing.report_time)
    return event


class Announce:
    """The port `Outbox` over the runtime's outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def add(self, changes: Sequence[Change]) -> None:
        """Write one event per change into the outbox."""
        await self._outbox.add([change_to_event(change) for change in changes])
