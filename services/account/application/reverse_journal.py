"""Posts the opposite of a journal."""

from uuid import UUID

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, Transaction
from services.account.domain.book import Journal, NewJournal
from services.account.domain.chart import Chart
from services.account.domain.errors import JournalNotReversible, JournalReversed

EVENT = "reversal"


class ReverseJournal:
    """Corrects a journal in the only way there is: by its opposite (冲正)."""

    def __init__(self, transaction: Transaction, chart: Chart, clock: Clock, new_id: IdFactory) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, journal_id: UUID, request: RequestKey) -> Journal:
        """Post the opposite, once; it refers to the journal and is itself never reversed.

        Raises:
            JournalUnknown: There is none.
            JournalNotReversible: Its detail stands in movements or openings, it is a reversal, or wallets bore it.
            JournalReversed: It was reversed before.
            WalletControlled: It filled a wallet whose parts are counted.
            InsufficientBalance, LimitExceeded: What it brought was spent meanwhile.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Journal)
            found = await uow.journals.get(journal_id)
            posting = found.posting
            whole = any(leg.account == self._chart.float_number and leg.purse is None for leg in posting.legs)
            # What wallets bore is given back by the debit itself, which knows grants and lots.
            if whole or posting.event == EVENT or posting.purpose:
                raise JournalNotReversible(journal=journal_id, event=posting.event)
            now = self._clock.now()
            opposite = posting.reversed(EVENT, f"journals/{journal_id}", now)
            accounts = await book(uow, self._chart, now, posted=opposite, limited=True, corrects=True)
            # Asked under the locks of its accounts: two reversals of one journal touch the same ones.
            if await uow.journals.posted(EVENT, opposite.reference):
                raise JournalReversed(journal=journal_id)
            (journal,) = await uow.journals.post(
                [NewJournal(self._new_id(), opposite, sums_after(opposite, accounts))], now
            )
            await uow.requests.answer(request, journal)
            await uow.commit()
        return journal
