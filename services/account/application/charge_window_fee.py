"""Books the fee of a closed window (WindowClosed)."""

from datetime import datetime

from libs.clock import Clock
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, UnitOfWork
from services.account.domain.batch import check_account
from services.account.domain.book import Leg, NewJournal, Posting
from services.account.domain.chart import Chart, Side
from services.account.domain.errors import FactMalformed

EVENT = "window_fee"


class ChargeWindowFee:
    """Books the fee of a closed window."""

    def __init__(self, chart: Chart, clock: Clock, new_id: IdFactory) -> None:
        self._chart = chart
        self._clock = clock
        self._new_id = new_id

    async def __call__(
        self, uow: UnitOfWork, window: str, participant: str, fee_fen: int, close_time: datetime
    ) -> None:
        """Book it in the transaction of the event, which the caller commits; a window pays once, and nothing at 0.

        Args:
            uow: The transaction.
            window: Name of the window, the journal's reference.
            participant: Id of the participant.
            fee_fen: 0 or more.
            close_time: When the window was closed.

        Raises:
            FactMalformed: The fee is negative, or the participant's name is none.
        """
        payable = f"2203.{participant}"
        check_account(self._chart, payable)
        if not participant or fee_fen < 0:
            raise FactMalformed(f"{window} has a fee of {fee_fen} fen for {participant!r}")
        if not fee_fen or await uow.journals.posted(EVENT, window):
            return
        now = self._clock.now()
        legs = (Leg(payable, Side.DEBIT, fee_fen), Leg("6002", Side.CREDIT, fee_fen))
        posting = Posting(EVENT, window, legs, close_time)
        accounts = await book(uow, self._chart, now, posted=posting)
        await uow.journals.post([NewJournal(self._new_id(), posting, sums_after(posting, accounts))], now)
