"""Folds a batch of clearing into the purses and the book, once (RecordsPosted)."""

from datetime import datetime

import numpy as np

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, Repeats, UnitOfWork
from services.account.domain.batch import PostedBatch
from services.account.domain.book import NewJournal, Posting
from services.account.domain.chart import Chart
from services.account.domain.events import BatchFolded
from services.account.domain.folding import fold, may_repeat

log = get_logger("citycard.account")


class FoldBatch:
    """Folds a batch in sets: no Python object per movement."""

    def __init__(self, chart: Chart, clock: Clock, new_id: IdFactory, clock_tolerance_s: float) -> None:
        self._chart = chart
        self._clock = clock
        self._new_id = new_id
        self._clock_tolerance_s = clock_tolerance_s

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
        detail = batch.digest()
        number = await uow.batches.claim(batch, journal, detail, now)
        if number is None:
            log.info("account.batch_known", batch=batch.batch_id)
            return
        if len(batch.movements):
            await self._fold_movements(uow, batch, number, now)
        if journal is not None:
            posting = Posting("records_posted", f"batches/{batch.batch_id}", legs, batch.post_time)
            accounts = await book(uow, self._chart, now, posted=posting)
            await uow.journals.post([NewJournal(journal, posting, sums_after(posting, accounts), detail)], now)
        await uow.events.add([BatchFolded(batch.batch_id, len(batch.movements), batch.total_fen, journal, now)])
        log.info("account.batch_folded", batch=batch.batch_id, movement_count=len(batch.movements))

    async def _fold_movements(self, uow: UnitOfWork, batch: PostedBatch, number: int, now: datetime) -> None:
        movements = batch.movements
        keys, positions = movements.keys.grouped()
        locked = await uow.purses.lock_columns(keys)
        purse_ids = locked.purse_ids[positions]
        # Only what is not above the highest counter can be a repetition: in the common case nothing is looked up.
        low = np.flatnonzero(may_repeat(movements, positions, locked.counter_max))
        seen = np.zeros(len(movements), dtype=np.bool_)
        if len(low):
            seen[low] = await uow.purses.seen(purse_ids[low], movements.counters[low])
        folded, found = fold(movements, positions, locked.counter_max, seen)
        doubtful = await uow.purses.fold(locked, folded, self._clock_tolerance_s)
        again = found.repeats
        repeats = Repeats(purse_ids[again], movements.counters[again], movements.amounts_fen[again])
        await uow.purses.note_counters(number, locked, found, repeats, now)
        unexplained = 0
        if len(doubtful):
            unexplained = await uow.purses.compare(doubtful, self._clock_tolerance_s, now, number)
        await uow.purses.add_movements(number, purse_ids, movements)
        gaps = len(found.gap_positions)
        if gaps or len(again) or unexplained:
            log.warning(
                "account.batch_has_items",
                batch=batch.batch_id,
                gap_count=gaps,
                repeat_count=len(again),
                balance_count=unexplained,
            )
