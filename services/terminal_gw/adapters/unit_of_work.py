"""One transaction of the gateway."""

from libs.runtime.database import UnitOfWork
from services.terminal_gw.adapters.events_out import OutboxAnnounce
from services.terminal_gw.adapters.sql_certificates import SqlCertificates
from services.terminal_gw.adapters.sql_commands import SqlCommands
from services.terminal_gw.adapters.sql_devices import SqlDevices
from services.terminal_gw.adapters.sql_packs import SqlPacks
from services.terminal_gw.adapters.sql_terminals import SqlSignIns, SqlTerminals
from services.terminal_gw.adapters.sql_uploads import SqlUploads


class GatewayUnitOfWork(UnitOfWork):
    """What every use case of the gateway works on."""

    announce: OutboxAnnounce
    terminals: SqlTerminals
    sign_ins: SqlSignIns
    uploads: SqlUploads
    devices: SqlDevices
    commands: SqlCommands
    packs: SqlPacks
    collection: SqlCertificates

    async def _open(self) -> None:
        self.announce = OutboxAnnounce(self.outbox)
        self.terminals = SqlTerminals(self.connection, self._clock)
        self.sign_ins = SqlSignIns(self.connection)
        self.uploads = SqlUploads(self.connection)
        self.devices = SqlDevices(self.connection)
        self.commands = SqlCommands(self.connection)
        self.packs = SqlPacks(self.connection)
        self.collection = SqlCertificates(self.connection, self._clock)
