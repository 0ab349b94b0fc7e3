"""One transaction of the gateway."""

from libs.runtime.database import UnitOfWork
from services.terminal_gw.adapters.events_out import OutboxAnnounce
from services.terminal_gw.adapters.sql_terminals import SqlSignIns, SqlTerminals
from services.terminal_gw.adapters.sql_uploads import SqlUploads


class GatewayUnitOfWork(UnitOfWork):
    """What every use case of the gateway works on."""

    announce: OutboxAnnounce
    terminals: SqlTerminals
    sign_ins: SqlSignIns
    uploads: SqlUploads

    async def _open(self) -> None:
        self.announce = OutboxAnnounce(self.outbox)
        self.terminals = SqlTerminals(self.connection)
        self.sign_ins = SqlSignIns(self.connection)
        self.uploads = SqlUploads(self.connection)
