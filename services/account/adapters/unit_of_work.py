"""The transaction of this service."""

from collections.abc import Sequence

from citycard.account.v1 import events_pb2
from google.protobuf.message import Message
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.clock import Clock
from libs.runtime.database import UnitOfWork
from libs.runtime.outbox import Outbox
from services.account.adapters.driver import Driver
from services.account.adapters.sql_accounts import AccountIds, PostgresAccounts
from services.account.adapters.sql_bank_breaks import PostgresBankBreaks
from services.account.adapters.sql_bank_flows import PostgresBankFlows
from services.account.adapters.sql_banks import PostgresBanks
from services.account.adapters.sql_batches import PostgresBatches
from services.account.adapters.sql_book import PostgresJournals
from services.account.adapters.sql_claims import PostgresClaims
from services.account.adapters.sql_postings import PostgresPostings
from services.account.adapters.sql_proof import PostgresProofs
from services.account.adapters.sql_purses import PostgresPurses
from services.account.adapters.sql_reservations import PostgresReservations
from services.account.adapters.sql_wallets import PostgresWalletBooks
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
    """One transaction with the repositories of the ledger.

    Args:
        engine: Of the process.
        chart: The chart of accounts.
        clock: For the runtime's rows.
        remembered: Short keys of accounts, shared by all transactions of a process.
    """

    claims: PostgresClaims
    events: OutboxEvents
    accounts: PostgresAccounts
    purses: PostgresPurses
    batches: PostgresBatches
    journals: PostgresJournals
    reservations: PostgresReservations
    proofs: PostgresProofs
    banks: PostgresBanks
    bank_flows: PostgresBankFlows
    bank_breaks: PostgresBankBreaks
    wallet_books: PostgresWalletBooks
    postings: PostgresPostings

    def __init__(self, engine: AsyncEngine, chart: Chart, clock: Clock, remembered: AccountIds | None = None) -> None:
        super().__init__(engine, clock)
        self._chart = chart
        self._remembered = remembered or AccountIds()

    async def _open(self) -> None:
        self.events = OutboxEvents(self.outbox)
        self.claims = PostgresClaims(self.connection)
        self.accounts = PostgresAccounts(self.connection, self._chart, self._remembered)
        self.purses = PostgresPurses(self.connection, self._chart.load_events)
        self.batches = PostgresBatches(self.connection)
        keys = (self.accounts.ids, self.purses.locked)
        self.journals = PostgresJournals(self.connection, *keys)
        self.reservations = PostgresReservations(self.connection, *keys)
        self.proofs = PostgresProofs(self.connection, self._chart)
        driver = Driver(self.connection)
        self.postings = PostgresPostings(driver, self.accounts, self.purses, self.journals, self.claims)
        self.banks = PostgresBanks(driver)
        self.bank_flows = PostgresBankFlows(driver, self.reservations)
        self.bank_breaks = PostgresBankBreaks(driver)
        self.wallet_books = PostgresWalletBooks(self.connection)


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
