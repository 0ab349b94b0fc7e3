"""Settling: the ledger hears of a load's verdict, and the load becomes final."""

from datetime import timedelta

from libs.clock import Clock
from libs.errors import DependencyUnavailable
from services.card.application.ports import Ledger, OpenUnitOfWork, PurseNotOpen
from services.card.domain.errors import OutletCreditExhausted
from services.card.domain.load import Load, Verdict


class StillInFlight(DependencyUnavailable):
    """An earlier call to the ledger may still be on its way; only waiting helps."""


class SettleLoad:
    """Takes one decided load to its end; harmless to repeat, and from two places at once.

    Args:
        unit_of_work: Opens a transaction.
        ledger: Hears commit or void, by the verdict.
        clock: Time of the end.
        in_flight: How long a call to the ledger can be under way at most.
    """

    def __init__(self, unit_of_work: OpenUnitOfWork, ledger: Ledger, clock: Clock, in_flight: timedelta) -> None:
        self._unit_of_work = unit_of_work
        self._ledger = ledger
        self._clock = clock
        self._in_flight = in_flight

    async def __call__(self, load_id: str) -> Load:
        """Answers the load as it is afterwards; an undecided one is left alone.

        Raises:
            LoadUnknown: There is no such load.
            DependencyUnavailable: The ledger does not answer: the verdict stays, and is told again later.
            LedgerDisagrees: The reservation was ended the other way; the load stays open for an officer.
        """
        async with self._unit_of_work() as uow:
            load = await uow.loads.get(load_id)
        if load.is_final or load.verdict is None:
            return load
        # Outside of any transaction: no row is locked while another service is thinking.
        if load.verdict is Verdict.WRITTEN:
            await self._ledger.commit(load.reservation)
        else:
            await self._void(load)
        async with self._unit_of_work() as uow:
            load = await uow.loads.get_for_update(load_id)
            if load.is_final:
                return load
            final, events = load.settled(self._clock.now())
            await uow.loads.save(final)
            await uow.events.add(events)
            await uow.commit()
        return final

    async def _void(self, load: Load) -> None:
        if load.reservation:
            await self._ledger.void(load.reservation)
            return
        # The process may have died between asking the ledger and writing down the answer. Asking again gives the
        # reservation if there is one, and makes one if there is none; voided, it stays in the way of a late call.
        try:
            reservation = await self._ledger.reserve(load)
        except (OutletCreditExhausted, PurseNotOpen):
            # Nothing is held now. A first call that is still on its way could yet be granted: wait until none can be.
            if self._clock.now() - load.create_time < self._in_flight:
                raise StillInFlight(dependency="account") from None
            return
        await self._ledger.void(reservation)
