"""What the gateway tells the others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from citycard.terminal_gw.v1 import events_pb2 as events_pb

from libs.runtime.outbox import Outbox
from services.terminal_gw.adapters.messages import terminal_to_pb, upload_to_pb, write
from services.terminal_gw.domain.device import Pairing
from services.terminal_gw.domain.terminal import Terminal
from services.terminal_gw.domain.upload import Upload

_TERMINALS_MAX: Final = 2_000


class OutboxAnnounce:
    """The port `Announce` over the runtime's outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def terminals_registered(self, terminals: Sequence[Terminal]) -> None:
        """At most 2,000 an event, as the contract says."""
        await self._outbox.add(
            [
                events_pb.TerminalsRegistered(terminals=map(terminal_to_pb, terminals[first : first + _TERMINALS_MAX]))
                for first in range(0, len(terminals), _TERMINALS_MAX)
            ]
        )

    async def psam_revoked(self, terminal: Terminal) -> None:
        """One event."""
        event = events_pb.PsamRevoked(
            terminal=f"terminals/{terminal.spec.terminal_number}", psam_number=terminal.spec.psam_number
        )
        write(event.revoke_time, terminal.psam_revoke_time)
        await self._outbox.add([event])

    async def device_paired(self, terminal: Terminal, pairing: Pairing) -> None:
        """One event, with the pairing that begins."""
        message = terminal_to_pb(replace(terminal, pairing=pairing))
        await self._outbox.add([events_pb.DevicePaired(terminal=message)])

    async def upload_stored(self, upload: Upload) -> None:
        """A reference; the bytes stay here."""
        await self._outbox.add([events_pb.UploadStored(upload=upload_to_pb(upload))])
