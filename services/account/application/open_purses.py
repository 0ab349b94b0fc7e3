"""Opens the purses of issued cards and books what the outlet owes for them (CardsIssued)."""

import numpy as np

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, UnitOfWork
from services.account.domain.batch import IssuedCards
from services.account.domain.book import NewJournal, Posting
from services.account.domain.chart import Chart

log = get_logger("citycard.account")


class OpenPurses:
    """Opens purses, one card or thousands at once."""

    def __init__(self, chart: Chart, clock: Clock, new_id: IdFactory, clock_tolerance_s: float) -> None:
        self._chart = chart
        self._clock = clock
        self._new_id = new_id
        self._clock_tolerance_s = clock_tolerance_s

    async def __call__(self, uow: UnitOfWork, issued: IssuedCards, event_id: str) -> None:
        """Open them in the transaction of the event, which the caller commits.

        A purse that movements made known before gets its opening now. A purse is opened once: a card that an earlier
        event issued is left out, money and all, and told in the log.

        Args:
            uow: The transaction.
            issued: The cards.
            event_id: Named by the journal.

        Raises:
            FactMalformed: The event contradicts itself.
        """
        issued.check()
        if not len(issued.keys):
            return
        keys, positions = issued.keys.grouped()
        # Rows in the order of keys, as they are locked; every key occurs once, so this is a reordering.
        ordered = issued.take(np.argsort(positions))
        locked = await uow.purses.lock_columns(keys)
        fresh = np.flatnonzero(await uow.purses.unopened(locked))
        if len(fresh) < len(keys):
            log.warning("account.cards_issued_twice", card_count=len(keys) - len(fresh), event_id=event_id)
        if not len(fresh):
            return
        cards = ordered.take(fresh)
        legs = cards.legs(self._chart)
        journal = self._new_id() if legs else None
        now = self._clock.now()
        opened = locked.take(fresh)
        await uow.purses.open(opened, cards, journal)
        # Cards that rode before the news of their issue came have balances that only now can be explained.
        await uow.purses.compare(opened.purse_ids, self._clock_tolerance_s, now)
        if journal is not None:
            posting = Posting("cards_issued", f"events/{event_id}", legs, issued.issue_time)
            accounts = await book(uow, self._chart, now, posted=posting)
            await uow.journals.post([NewJournal(journal, posting, sums_after(posting, accounts))], now)
        log.info("account.purses_opened", card_count=len(fresh))
