"""AuthoriseLoad: the first half of a top-up (purse-protocol.md, section 3.1, steps 2 and 3)."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from libs.clock import CITY_TZ, Clock
from libs.errors import DependencyUnavailable
from libs.runtime.requests import RequestKey
from services.card.application.ports import Keys, Ledger, LedgerDisagrees, OpenUnitOfWork
from services.card.application.settle_load import SettleLoad
from services.card.domain.errors import OutletCreditExhausted
from services.card.domain.load import Evidence, Load, LoadOrder
from services.card.domain.states import MAY_LOAD


class AuthoriseLoad:
    """A saga of three steps, each of which can be the last before a crash.

    1. Ours: claim the request, check, decide the card's earlier load, store this one REQUESTED.
    2. The ledger's: hold the money under the load's own id, so that asking twice holds once.
    3. Ours: compute MAC2, store it with AUTHORISED, and only then answer it.

    A retry of the request goes on where the first stopped. Without one the sweep gives up what has no MAC2.
    """

    def __init__(
        self,
        unit_of_work: OpenUnitOfWork,
        ledger: Ledger,
        keys: Keys,
        settle: SettleLoad,
        clock: Clock,
        new_id: Callable[[], UUID],
        confirm_wait: timedelta,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._ledger = ledger
        self._keys = keys
        self._settle = settle
        self._clock = clock
        self._new_id = new_id
        self._confirm_wait = confirm_wait

    async def __call__(self, order: LoadOrder, request: RequestKey) -> Load:
        """Answers the load with its MAC2; a repetition gets the same.

        Raises:
            CardUnknown, CardClosed, CardStateForbids, CardExpired, LoadStep, BalanceOverLimit, KeyUnknown, Mac1Wrong,
                AnswerStale, LoadOpen, OutletCreditExhausted: In this order.
            LoadStateForbids: The load was given up before MAC2 was given; a new order is needed.
            DependencyUnavailable: The ledger does not answer; repeat the same request.
        """
        load, earlier_ids = await self._request(order, request)
        # First: a reversal frees the outlet's credit for the new load. The verdicts are stored, so a ledger that is
        # away costs nothing here: the sweep tells it later, and the reservation below says whether we can go on.
        for earlier_id in earlier_ids:
            with suppress(DependencyUnavailable, LedgerDisagrees):
                await self._settle(earlier_id)
        if load.awaits_mac2:
            load = await self._authorise(load.id, await self._reserve(load))
        load.check_answerable()
        return load

    async def _request(self, order: LoadOrder, request: RequestKey) -> tuple[Load, list[str]]:
        """Step 1. Answers the load, and the earlier ones that its answer A has decided."""
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.loads.get(await uow.requests.first_answer(request, str)), []
            card = await uow.cards.get_for_update(order.card)
            product = await uow.products.get(card.product)
            now = self._clock.now()
            card.check_load(
                product,
                card_balance_fen=order.card_balance_fen,
                amount_fen=order.amount_fen,
                today=now.astimezone(CITY_TZ).date(),
            )
            await self._keys.check_mac1(card, order)
            # Now the answer is known to be this card's; whether it is a new one, its counter says.
            (await uow.loads.sight(order, card.generation)).check(order)
            earlier = await uow.loads.open_of_card_for_update(card.number)
            for open_load in earlier:
                await uow.loads.save(open_load.decided_by_next(order))
            load = Load.requested(str(self._new_id()), order, card.generation, now)
            await uow.loads.add(load)
            await uow.requests.answer(request, load.id)
            await uow.commit()
        return load, [open_load.id for open_load in earlier]

    async def _reserve(self, load: Load) -> str:
        """Step 2."""
        try:
            return await self._ledger.reserve(load)
        except OutletCreditExhausted:
            async with self._unit_of_work() as uow:
                load = await uow.loads.get_for_update(load.id)
                if load.awaits_mac2:
                    await uow.loads.save(load.refused(Evidence.CREDIT_EXHAUSTED, self._clock.now()))
                    await uow.commit()
            raise

    async def _authorise(self, load_id: str, reservation: str) -> Load:
        """Step 3."""
        async with self._unit_of_work() as uow:
            # The card first, then its load: the order of step 1.
            card = await uow.cards.get_for_update((await uow.loads.get(load_id)).order.card)
            load = await uow.loads.get_for_update(load_id)
            if not load.awaits_mac2:
                # A twin of this request was faster, or the sweep gave it up, or a newer order of the card took over.
                return load
            blocked = card.state not in MAY_LOAD
            if blocked:
                load = load.given_up(Evidence.CARD_STATE)
            else:
                # The card signs whole seconds.
                host_time = self._clock.now().replace(microsecond=0)
                load = load.authorised(
                    mac2=await self._keys.make_mac2(card, load.order, host_time),
                    reservation=reservation,
                    host_time=host_time,
                    wait=self._confirm_wait,
                )
            await uow.loads.save(load)
            await uow.commit()
        return await self._settle(load_id) if blocked else load
