"""The transaction of this service."""

from collections.abc import Sequence

from citycard.account.v1 import events_pb2
from google.protobuf.message import Message
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.clock import Clock
from libs.runtime.database import UnitOfWork
from libs.runtime.outbox import Outbox
from services.account.adapters.sql_accounts import PostgresAccounts
from services.account.adapters.sql_book import PostgresBatches, PostgresJournals
from services.account.adapters.sql_proof import PostgresProofs
from services.account.adapters.sql_purses import PostgresPurses
from services.account.adapters.sql_reservations import PostgresReservations
from services.account.adapters.translate import timestamp
from services.account.domain.chart import Chart
from services.account.domain.events import BatchFolded, LedgerEvent


class OutboxEvents:
    """`EventSink` over the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def add(self, events: Sequence[LedgerEvent]) -> None:
        """See the port."""
        await self._outbox.add([event_to_pb(event) for event in events])


class AccountUnitOfWork(UnitOfWork):
    """One transaction with the repositories of the ledger."""

    events: OutboxEvents
    accounts: PostgresAccounts
    purses: PostgresPurses
    batches: PostgresBatches
    journals: PostgresJournals
    reservations: PostgresReservations
    proofs: PostgresProofs

    def __init__(self, engine: AsyncEngine, chart: Chart, clock: Clock) -> None:
        super().__init__(engine, clock)
        self._chart = chart

    async def _open(self) -> None:
        self.events = OutboxEvents(self.outbox)
        self.accounts = PostgresAccounts(self.connection, self._chart)
        self.purses = PostgresPurses(self.connection)
        self.batches = PostgresBatches(self.connection)
        self.journals = PostgresJournals(self.connection)
        self.reservations = PostgresReservations(self.connection)
        self.proofs = PostgresProofs(self.connection, self._chart)


def event_to_pb(event: LedgerEvent) -> Message:
    """A fact of the domain as the contract writes it."""
    if isinstance(event, BatchFolded):
        return events_pb2.BatchFolded(
            batch_id=event.batch_id,
            movement_count=event.movement_count,
            movement_total_fen=event.movement_total_fen,
            journal=f"journals/{event.journal}" if event.journal else "",
            fold_time=timestamp(event.fold_time),
        )
    return events_pb2.ReservationExpired(
        reservation=f"reservations/{event.reservation}",
        reference=event.reference,
        expire_time=timestamp(event.expire_time),
    )
