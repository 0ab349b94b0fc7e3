"""Gives back what wallets paid, in whole or in part, by reversing entries."""

from uuid import UUID

from libs.clock import Clock
from libs.errors import NotYours
from libs.runtime.requests import RequestKey
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, Transaction
from services.account.domain.book import NewJournal, Posting
from services.account.domain.chart import Chart
from services.account.domain.wallet_debits import WalletDebit, lot_changes
from services.account.domain.wallets import Catalogue

EVENT = "wallet_reversal"


class ReverseWalletDebit:
    """Gives back what wallets paid (退款, 冲正): the wallet that bore last gets first, the lot taken last first."""

    def __init__(
        self, transaction: Transaction, chart: Chart, catalogue: Catalogue, clock: Clock, new_id: IdFactory
    ) -> None:
        self._transaction = transaction
        self._chart = chart
        self._catalogue = catalogue
        self._clock = clock
        self._new_id = new_id

    async def __call__(
        self, debit_id: UUID, amount_fen: int, participant: str | None, request: RequestKey
    ) -> WalletDebit:
        """Give back an amount; what a limit counted on the day of the debit is free again.

        Args:
            debit_id: Which.
            amount_fen: How much; 0: all that is left.
            participant: Whose debits the caller may reverse; None: everybody's.
            request: Claimed in the same transaction.

        Raises:
            DebitUnknown: There is none.
            NotYours: Another participant made it.
            DebitNotReversible: It is held, given up, or was no payment.
            ReversalAboveDebit: More is asked for than is left.
            WalletStateForbids: A wallet that would get something is closed.
            LimitExceeded: A wallet would hold more than it may.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, WalletDebit)
            books = uow.wallet_books
            found = await books.debits.get(debit_id)
            if participant is not None and found.participant != participant:
                raise NotYours
            now = self._clock.now()
            names = [self._catalogue.account_of(tender.wallet) for tender in found.tenders]
            sides = [name for tender in found.tenders for name in (tender.account, tender.payee)]
            await uow.accounts.lock({*names, *sides}, now)
            # Once more under the locks: another reversal may have been faster.
            found = await books.debits.get(debit_id)
            after, legs = found.reversal(found.check_reversible(amount_fen))
            wallets = await books.wallets.find([tender.wallet for tender in found.tenders])
            for before, tender in zip(found.tenders, after.tenders, strict=True):
                if tender != before:
                    wallets[tender.wallet].check_may_take(tender.account)
            posting = Posting(
                EVENT, f"walletDebits/{debit_id}", legs, now, found.participant, found.purpose, found.member
            )
            accounts = await book(uow, self._chart, now, posted=posting, limited=True, by_wallets=True)
            await books.debits.save(after)
            await books.wallets.change_lots(lot_changes(found, after))
            await uow.journals.post([NewJournal(self._new_id(), posting, sums_after(posting, accounts))], now)
            await uow.requests.answer(request, after)
            await uow.commit()
        return after
