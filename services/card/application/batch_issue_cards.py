"""BatchIssueCards: many stocked cards at once, each with an opening balance that is on its chip already."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from libs.clock import CITY_TZ, Clock
from libs.errors import RequestMalformed
from libs.runtime.requests import RequestKey
from services.card.application.ports import OpenUnitOfWork
from services.card.domain.batch import check_each_once, check_issuable, group_issue, openings_for


@dataclass(frozen=True, slots=True)
class BatchIssued:
    """What a batch came to: cards, and the sum of their opening balances in fen."""

    issued_count: int
    opening_balance_total_fen: int


class BatchIssueCards:
    """Issues cards, all or none, by a fixed number of statements whatever the number of cards."""

    def __init__(self, unit_of_work: OpenUnitOfWork, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(
        self,
        numbers: Sequence[str],
        openings_fen: Sequence[int],
        outlet: str,
        request: RequestKey,
        start_date: date | None = None,
    ) -> BatchIssued:
        """Opening balances: one for all, or one per card. Without a first day of validity it is today.

        Raises:
            RequestMalformed: A card is named twice, the count of opening balances fits neither, or the first day lies
                ahead.
            CardUnknown, CardStateForbids, CardNotAtOutlet, HolderRequired, BalanceOverLimit: In this order.
        """
        check_each_once(numbers, "cards")
        openings = openings_for(numbers, openings_fen)
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, BatchIssued)
            stock = await uow.cards.stock_for_update(numbers)
            check_issuable(numbers, stock, outlet)
            products = await uow.products.get_many(sorted({row.product for row in stock.values()}))
            now = self._clock.now()
            today = now.astimezone(CITY_TZ).date()
            start = start_date or today
            if start > today:
                raise RequestMalformed(field="start_date", description="must be today or earlier")
            issued: Counter[str] = Counter()
            for group in group_issue(numbers, openings, stock, products):
                await uow.cards.issue(group, at=now, start=start)
                await uow.events.add(list(group.events(outlet=outlet, at=now, start=start)))
                issued[group.product.name] += len(group.numbers)
            for product, count in sorted(issued.items()):
                await uow.stock.change(outlet, product, stock=-count, issued=count)
            answer = BatchIssued(len(numbers), sum(openings))
            await uow.requests.answer(request, answer)
            await uow.commit()
        return answer
