"""The unit of work of the card service."""

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.clock import Clock
from libs.runtime.database import UnitOfWork
from services.card.adapters.events_out import OutboxEvents
from services.card.adapters.holder_cipher import HolderCipher
from services.card.adapters.sql_cards import SqlCards, SqlHolders
from services.card.adapters.sql_loads import SqlLoads
from services.card.adapters.sql_products import SqlProducts, SqlStock
from services.card.adapters.sql_proof import SqlProofs


class SqlUnitOfWork(UnitOfWork):
    """One transaction with the repositories of this service; `services.card.application.ports.UnitOfWork`."""

    events: OutboxEvents
    products: SqlProducts
    cards: SqlCards
    stock: SqlStock
    holders: SqlHolders
    loads: SqlLoads
    proofs: SqlProofs

    def __init__(self, engine: AsyncEngine, holder_cipher: HolderCipher, clock: Clock | None = None) -> None:
        super().__init__(engine, clock)
        self._holder_cipher = holder_cipher

    async def _open(self) -> None:
        self.events = OutboxEvents(self.outbox)
        self.products = SqlProducts(self.connection)
        self.cards = SqlCards(self.connection)
        self.stock = SqlStock(self.connection)
        self.holders = SqlHolders(self.connection, self._holder_cipher)
        self.loads = SqlLoads(self.connection)
        self.proofs = SqlProofs(self.connection)
