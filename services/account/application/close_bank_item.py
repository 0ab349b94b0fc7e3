"""Ends a difference between bank and book by a person's decision."""

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.float_ports import FloatTransaction
from services.account.domain.bank_statement import BankItem, BankItemKind, BankItemOutcome
from services.account.domain.errors import BankItemClosed, BankItemsDiffer


class CloseBankItem:
    """Ends an item: with another one that is its counterpart, or by a note alone; money moves by journals only."""

    def __init__(self, transaction: FloatTransaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock

    async def __call__(self, item_id: int, other_id: int | None, note: str, request: RequestKey) -> BankItem:
        """Close it, and its counterpart when one is named.

        Raises:
            BankItemUnknown: There is none.
            BankItemClosed: One of them ended before.
            BankItemsDiffer: They are not a line and an entry of one account and amount.
            RequestIdReused: The id was used for other content.
        """
        now = self._clock.now()
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, BankItem)
            wanted = sorted({item_id} if other_id is None else {item_id, other_id})
            # Locked in the order of their numbers, whichever was named first.
            found = {number: await uow.bank.get_item(number) for number in wanted}
            for item in found.values():
                if item.outcome is not None:
                    raise BankItemClosed(item=item.id, outcome=item.outcome.value)
            if other_id is None:
                await uow.bank.end_items([item_id], BankItemOutcome.DECIDED, note, now)
            else:
                line, entry = _pair(found[item_id], found[other_id])
                await uow.bank.match(line.id, entry.id, now)
                await uow.bank.end_items([line.id, entry.id], BankItemOutcome.MATCHED, note, now)
            closed = await uow.bank.get_item(item_id)
            await uow.requests.answer(request, closed)
            await uow.commit()
        return closed


def _pair(item: BankItem, other: BankItem) -> tuple[BankItem, BankItem]:
    by_kind = {one.kind: one for one in (item, other)}
    line, entry = by_kind.get(BankItemKind.NOT_IN_BOOK), by_kind.get(BankItemKind.NOT_AT_BANK)
    if line is None or entry is None or line.account != entry.account or line.amount_fen + entry.amount_fen:
        raise BankItemsDiffer(
            item=item.id, other=other.id, amount_fen=item.amount_fen, other_fen=other.amount_fen
        )  # fmt: skip
    return line, entry
