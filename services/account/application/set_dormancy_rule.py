"""From which silence on a card is dormant."""

from datetime import date

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.float_ports import FloatTransaction
from services.account.domain.errors import FloatDayClosed
from services.account.domain.float import DormancyRule


class SetDormancyRule:
    """Adds a rule; closed days keep the one that they were counted by."""

    def __init__(self, transaction: FloatTransaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock

    async def __call__(
        self, product: str, silence_days: int, from_day: date, set_by: str, request: RequestKey
    ) -> DormancyRule:
        """Set the rule of a product, or the general one when no product is named.

        Raises:
            FloatDayClosed: The rule would begin on a day that is closed.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, DormancyRule)
            last = await uow.floats.last_closed()
            if last is not None and from_day <= last:
                raise FloatDayClosed(day=from_day, last_closed=last)
            rule = DormancyRule(product, silence_days, from_day, set_by, self._clock.now())
            await uow.floats.set_rule(rule)
            await uow.requests.answer(request, rule)
            await uow.commit()
        return rule
