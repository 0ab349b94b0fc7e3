"""A card service in memory with its use cases, as the tests drive it."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from libs.testkit.clock import FakeClock
from services.card.application.authorise_load import AuthoriseLoad
from services.card.application.confirm_load import ConfirmLoad
from services.card.application.reverse_load import ReverseLoad
from services.card.application.settle_load import SettleLoad
from services.card.application.sweep_loads import SweepLoads
from services.card.domain.load import Load
from tests.unit.card.fakes import (
    FakeChip,
    FakeDatabase,
    FakeKeys,
    FakeLedger,
    a_card,
    a_product,
    a_request,
    an_order,
)

REQUEST_WAIT = timedelta(seconds=30)
CONFIRM_WAIT = timedelta(seconds=300)
IN_FLIGHT = timedelta(seconds=30)


class LoadWorld:
    """One product, one active card, its chip, a ledger."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.database = FakeDatabase()
        self.ledger = FakeLedger()
        self.keys = FakeKeys()
        self.chip = FakeChip()
        self.card = a_card()
        self.database.tables.products["adult", 1] = a_product()
        self.database.tables.cards[self.card.number] = self.card
        settle = SettleLoad(self.database, self.ledger, self.clock, IN_FLIGHT)
        self.settle = settle
        self.authorise = AuthoriseLoad(self.database, self.ledger, self.keys, settle, self.clock, uuid4, CONFIRM_WAIT)
        self.confirm = ConfirmLoad(self.database, self.keys, settle)
        self.reverse = ReverseLoad(self.database, settle)
        self.sweep = SweepLoads(self.database, settle, self.clock, REQUEST_WAIT)

    @property
    def loads(self) -> list[Load]:
        return list(self.database.tables.loads.values())

    @property
    def load(self) -> Load:
        (load,) = self.loads
        return load

    @property
    def events(self) -> list[object]:
        return list(self.database.tables.events)

    def set_card(self, **values: object) -> None:
        tables = self.database.tables
        tables.cards[self.card.number] = replace(tables.cards[self.card.number], **values)  # type: ignore[arg-type]

    async def ask(self, amount_fen: int = 50_00) -> Load:
        """A new order with a fresh answer of the chip."""
        order = an_order(amount_fen=amount_fen, answer_a=self.chip.initialise())
        return await self.authorise(order, a_request(order))
