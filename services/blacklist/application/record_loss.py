"""What the card service says about losses becomes entries of the list."""

from datetime import datetime, timedelta

from libs.clock import Clock
from services.blacklist.application.change_list import change_list
from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.entry import CardKey, Entry


class RecordLoss:
    """Takes in reports and cancellations in any order, in a transaction that the caller commits."""

    def __init__(self, clock: Clock, effective_delay: timedelta) -> None:
        self._clock = clock
        self._effective_delay = effective_delay

    async def reported(self, uow: UnitOfWork, card: CardKey, report_time: datetime) -> Entry:
        """A card was reported lost: listed with reason LOST and mode LOCK, effective after the usual delay."""
        effective_time = report_time + self._effective_delay
        return await change_list(
            uow, card, self._clock.now(), lambda before: before.report_loss(report_time, effective_time)
        )

    async def cancelled(self, uow: UnitOfWork, card: CardKey, cancel_time: datetime) -> Entry:
        """The report was taken back: removed as of that moment, unless an officer's decision stands."""
        return await change_list(uow, card, self._clock.now(), lambda before: before.cancel_loss(cancel_time))
