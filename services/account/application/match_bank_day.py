"""Compares the daily file that stands for a bank's day with our operations."""

from dataclasses import replace
from datetime import date

from libs.clock import Clock
from services.account.application.bank_booking import FlowBooks
from services.account.application.bank_ports import BankTransaction
from services.account.domain.bank_break import FileMatch
from services.account.domain.bank_errors import BankFileConflict
from services.account.domain.bank_file import BankFile
from services.account.domain.bank_flow import FlowState, Heard


class MatchBankDay:
    """Matches a day, once more whenever something has moved."""

    def __init__(self, transaction: BankTransaction, books: FlowBooks, clock: Clock) -> None:
        self._transaction = transaction
        self._books = books
        self._clock = clock

    async def __call__(self, bank: str, business_date: date, file: BankFile | None = None) -> FileMatch | None:
        """Match the day; with a file, after taking it in. None when no file stands for the day.

        Raises:
            BankFileConflict: Another file of the day stands, and this one has no higher revision.
        """
        repeated = False
        async with self._transaction() as uow:
            now = self._clock.now()
            known = await uow.bank_breaks.known_file(bank, business_date)
            if file is None and known is None:
                return None
            if file is not None:
                repeated = known is not None and known.digest == file.digest
                if known is not None and not repeated and file.revision <= known.revision:
                    raise BankFileConflict(bank=bank, business_date=business_date, revision=known.revision)
                if not repeated:
                    await uow.bank_breaks.add_file(file, now)
            match = await uow.bank_breaks.match(bank, business_date, now)
            to_chase = await uow.bank_breaks.to_chase(bank, business_date)
            await uow.commit()
        # The bank has money of a holder for what we gave up: it is told to reverse, whatever it said before.
        for flow_id in to_chase:
            async with self._transaction() as uow:
                found = await uow.bank_flows.get_for_update(flow_id)
                now = self._clock.now()
                if found.state is FlowState.VOIDED:
                    index = next((place for place, leg in enumerate(found.legs) if leg.bank == bank), 0)
                    await self._books.keep(uow, found, Heard(found.reopened(index, now)), now)
                await uow.bank_breaks.chased(flow_id)
                await uow.commit()
        return replace(match, repeated=repeated)
