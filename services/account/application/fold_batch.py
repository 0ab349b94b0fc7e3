"""Folds a batch of clearing into the purses and the book, once (RecordsPosted)."""

from datetime import datetime

import numpy as np

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, Repeats, UnitOfWork
from services.account.domain.batch import Movements, PostedBatch
from services.account.domain.book import NewJournal, Posting
from services.account.domain.chart import Chart
from services.account.domain.columns import I64
from services.account.domain.events import BatchFolded
from services.account.domain.folding import fold, may_repeat, runs

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
        """Purses that go on where they stopped are folded at one stroke; the others with a look at what they were."""
        movements = batch.movements
        keys, positions = movements.keys.grouped()
        purse_ids, doubtful = await uow.purses.fold_runs(keys, runs(movements, positions), self._clock_tolerance_s)
        items = 0
        left = np.flatnonzero(purse_ids == 0)
        if len(left):
            rows = np.flatnonzero(purse_ids[positions] == 0)
            purse_ids[left], more, items = await self._fold_others(uow, movements.take(rows), number, now)
            doubtful = np.concatenate((doubtful, more))
        if len(doubtful):
            items += await uow.purses.compare(doubtful, self._clock_tolerance_s, now, number)
        await uow.purses.add_movements(number, purse_ids[positions], movements)
        if items:
            log.warning("account.batch_has_items", batch=batch.batch_id, item_count=items)

    async def _fold_others(
        self, uow: UnitOfWork, movements: Movements, number: int, now: datetime
    ) -> tuple[I64, I64, int]:
        """Purses that are new, miss counters, or get some again; their short keys in order, those in doubt, items."""
        keys, positions = movements.keys.grouped()
        locked = await uow.purses.lock_columns(keys)
        purse_ids = locked.purse_ids[positions]
        seen = np.zeros(len(movements), dtype=np.bool_)
        low = np.flatnonzero(may_repeat(movements, positions, locked.counter_max))
        if len(low):
            seen[low] = await uow.purses.seen(purse_ids[low], movements.counters[low])
        folded, found = fold(movements, positions, locked.counter_max, seen)
        doubtful = await uow.purses.fold(locked, folded, self._clock_tolerance_s)
        again = found.repeats
        repeats = Repeats(purse_ids[again], movements.counters[again], movements.amounts_fen[again])
        await uow.purses.note_counters(number, locked, found, repeats, now)
        return locked.purse_ids, doubtful, len(found.gap_positions) + len(again)
