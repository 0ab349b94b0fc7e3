"""Books what clearing decided beside records and fees (BookPosted)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.clock import Clock
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, UnitOfWork
from services.account.domain.batch import check_account
from services.account.domain.book import Leg, NewJournal, Posting
from services.account.domain.chart import Chart, Side
from services.account.domain.errors import FactMalformed

# Words that say what others of our events say: a posting under one of them could pass for a batch or a fee.
_TAKEN = ("cards_issued", "load", "records_posted", "window_fee")


@dataclass(frozen=True, slots=True)
class BookLine:
    """What moves between two accounts, in fen."""

    debit_account: str
    credit_account: str
    amount_fen: int


class PostBookLines:
    """Books lines as one journal."""

    def __init__(self, chart: Chart, clock: Clock, new_id: IdFactory) -> None:
        self._chart = chart
        self._clock = clock
        self._new_id = new_id

    async def __call__(
        self, uow: UnitOfWork, event: str, reference: str, lines: Sequence[BookLine], post_time: datetime
    ) -> None:
        """Book them in the transaction of the event, which the caller commits; an event happens to a reference once.

        Raises:
            FactMalformed: No lines, an amount that is not above 0, an account that is none, the card float (whose
                purse a line does not name), or a word of another event.
        """
        if not lines or not reference or event in _TAKEN:
            raise FactMalformed(f"{event!r} of {reference!r} has {len(lines)} lines")
        sums: dict[tuple[str, Side], int] = {}
        for line in lines:
            if line.amount_fen <= 0:
                raise FactMalformed(f"{reference}: a line of {line.amount_fen} fen")
            for account, side in ((line.debit_account, Side.DEBIT), (line.credit_account, Side.CREDIT)):
                check_account(self._chart, account)
                if self._chart.line(account).number == self._chart.float_number:
                    raise FactMalformed(f"{reference}: a line touches the card float")
                sums[account, side] = sums.get((account, side), 0) + line.amount_fen
        if await uow.journals.posted(event, reference):
            return
        now = self._clock.now()
        legs = tuple(Leg(account, side, amount) for (account, side), amount in sorted(sums.items()))
        posting = Posting(event, reference, legs, post_time)
        accounts = await book(uow, self._chart, now, posted=posting)
        await uow.journals.post([NewJournal(self._new_id(), posting, sums_after(posting, accounts))], now)
