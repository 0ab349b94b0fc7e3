"""Ends an item by a person's decision."""

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.ports import Transaction
from services.account.domain.errors import ItemClosed
from services.account.domain.folding import PurseItem


class ClosePurseItem:
    """Ends an item by a person's decision; what is to be booked for it is a journal of its own."""

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock

    async def __call__(self, item_id: int, note: str, request: RequestKey) -> PurseItem:
        """Close it with a note that says why.

        Raises:
            ItemUnknown: There is none.
            ItemClosed: It ended before.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, PurseItem)
            found = await uow.purses.get_item(item_id)
            if found.outcome is not None:
                raise ItemClosed(item=item_id, outcome=found.outcome.value)
            await uow.purses.close_item(item_id, note, self._clock.now())
            closed = await uow.purses.get_item(item_id)
            await uow.requests.answer(request, closed)
            await uow.commit()
        return closed
