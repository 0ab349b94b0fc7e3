"""Ends lots whose validity is over."""

import asyncio

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, Transaction
from services.account.domain.book import Leg, NewJournal, Posting
from services.account.domain.chart import Chart, Side
from services.account.domain.wallets import Catalogue

log = get_logger("citycard.account")

EVENT = "lots_expired"
# Wallets of one journal; each brings one or two legs.
_ROUND = 200


class ExpireLots:
    """The sweep. Late or killed, it changes nothing that a holder can spend: time decides, the sweep only notes.

    What a reservation holds stays in its lot until the reservation ends; the next sweep finds what was given up.
    """

    def __init__(
        self,
        transaction: Transaction,
        chart: Chart,
        catalogue: Catalogue,
        clock: Clock,
        new_id: IdFactory,
        period_s: float,
    ) -> None:
        self._transaction = transaction
        self._chart = chart
        self._catalogue = catalogue
        self._clock = clock
        self._new_id = new_id
        self._period_s = period_s

    async def run(self) -> None:
        """Sweep until cancelled, every `period_s` seconds and at once again after a full round."""
        while True:
            if await self.sweep() < _ROUND:
                await asyncio.sleep(self._period_s)

    async def sweep(self) -> int:
        """End what is over in up to 200 wallets, in one journal; returns how many wallets were looked at.

        Everything goes back to the accounts that it came from.
        """
        async with self._transaction() as uow:
            now = self._clock.now()
            names = await uow.wallet_books.wallets.ended_wallets(now, _ROUND)
            if not names:
                return 0
            accounts = {name: self._catalogue.account_of(name) for name in names}
            # Sources too, before any lot is touched: one order of locks. A source is one of a handful per kind.
            lots = await uow.wallet_books.wallets.lots(names)
            sources = {lot.source for name in names for lot in lots[name]}
            await uow.accounts.lock({*accounts.values(), *sources}, now)
            ended = [lot for lot in await uow.wallet_books.wallets.end_lots(names, now) if lot.amount_fen]
            taken: dict[str, int] = {}
            given: dict[str, int] = {}
            for lot in ended:
                taken[accounts[lot.wallet]] = taken.get(accounts[lot.wallet], 0) + lot.amount_fen
                given[lot.source] = given.get(lot.source, 0) + lot.amount_fen
            if ended:
                legs = [Leg(name, Side.DEBIT, amount) for name, amount in sorted(taken.items())]
                legs += [Leg(name, Side.CREDIT, amount) for name, amount in sorted(given.items())]
                posting = Posting(EVENT, f"lots/{now.isoformat()}", tuple(legs), now)
                after = await book(uow, self._chart, now, posted=posting)
                await uow.journals.post([NewJournal(self._new_id(), posting, sums_after(posting, after))], now)
                await uow.commit()
        log.info("account.lots_expired", wallets=len(taken), lots=len(ended))
        return len(names)
