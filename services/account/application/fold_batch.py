"""Folds a batch of clearing into the purses and the book, once (RecordsPosted)."""

import numpy as np

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.booking import book
from services.account.application.ports import IdFactory, UnitOfWork
from services.account.domain.batch import PostedBatch, fold, may_repeat
from services.account.domain.book import Posting
from services.account.domain.chart import Chart
from services.account.domain.events import BatchFolded

log = get_logger("citycard.account")


class FoldBatch:
    """Folds a batch in sets: no Python object per movement."""

    def __init__(self, chart: Chart, clock: Clock, new_id: IdFactory) -> None:
        self._chart = chart
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, uow: UnitOfWork, batch: PostedBatch) -> None:
        """Fold it in the transaction of its event, which the caller commits; a batch folded before changes nothing.

        A debit never fails for lack of balance: the purchase has happened (clearing-and-ledger.md, section 6).

        Raises:
            FactMalformed: The batch contradicts itself.
        """
        batch.check(self._chart)
        now = self._clock.now()
        legs = batch.legs(self._chart)
        journal = self._new_id() if legs else None
        number = await uow.batches.claim(batch, journal, now)
        if number is None:
            log.info("account.batch_known", batch=batch.batch_id)
            return
        if len(batch.movements):
            await self._fold_movements(uow, batch, number)
        if journal is not None:
            posting = Posting("records_posted", f"batches/{batch.batch_id}", legs, batch.post_time)
            await book(uow, self._chart, posting, now, posted=1)
            await uow.journals.post(journal, posting, now)
        await uow.events.add([BatchFolded(batch.batch_id, len(batch.movements), batch.total_fen, journal, now)])
        log.info("account.batch_folded", batch=batch.batch_id, movement_count=len(batch.movements))

    async def _fold_movements(self, uow: UnitOfWork, batch: PostedBatch, number: int) -> None:
        movements = batch.movements
        keys, positions = movements.keys.grouped()
        locked = await uow.purses.lock_columns(keys)
        purse_ids = locked.purse_ids[positions]
        # Only what is not above the highest counter can be a repetition: in the common case nothing is looked up.
        low = np.flatnonzero(may_repeat(movements, positions, locked.counter_max))
        seen = np.zeros(len(movements), dtype=np.bool_)
        if len(low):
            seen[low] = await uow.purses.seen(purse_ids[low], movements.counters[low])
        await uow.purses.fold(locked, fold(movements, positions, seen))
        await uow.purses.add_movements(number, purse_ids, movements)
