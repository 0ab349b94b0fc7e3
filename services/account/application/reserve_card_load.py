"""Holds value of a wallet while it is written on the card."""

from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.booking import require
from services.account.application.debit_wallets import hold_debit, payment
from services.account.application.ports import Transaction
from services.account.application.wallet_planning import WalletPlanner
from services.account.domain.book import Leg
from services.account.domain.chart import Chart, Side
from services.account.domain.purse import PurseKey
from services.account.domain.wallet_debits import WalletDebit
from services.account.domain.wallet_errors import WalletInsufficient, WalletUseForbidden
from services.account.domain.wallet_plan import Purchase, TenderWish
from services.account.domain.wallets import CARD_LOAD, Catalogue, purse_of

# Between the wallet and the card: the money is on its way (在途圈存).
_IN_DOUBT = "2207"


class ReserveCardLoad:
    """Loads the offline purse from what waits for the card (补登圈存), or from an online account (圈存).

    The reservation ends as every other: committed when the card proved the load, voided when it disproved it. Until
    then nobody else can have the amount, and the purse knows of a load in doubt.
    """

    def __init__(self, transaction: Transaction, chart: Chart, catalogue: Catalogue, clock: Clock) -> None:
        self._transaction = transaction
        self._chart = chart
        self._catalogue = catalogue
        self._planner = WalletPlanner(catalogue)
        self._clock = clock

    async def __call__(
        self,
        wallet: str,
        purse: PurseKey,
        amount_fen: int,
        reference: str,
        expire_time: datetime | None,
        request: RequestKey,
    ) -> WalletDebit:
        """Hold an amount for a purse.

        Args:
            wallet: From which wallet.
            purse: On which card; what waits for a card goes on no other.
            amount_fen: How much; 0: all that waits (not from an online account, which would be emptied by a slip).
            reference: What it refers to, `loads/…`.
            expire_time: When it gives itself up; None: never, for a load in doubt is never guessed at.
            request: Names the reservation.

        Raises:
            WalletKindUnknown, WalletUseForbidden, PurseUnknown, WalletUnknown, WalletStateForbids, WalletInsufficient:
                First match wins.
            RequestIdReused: The id was used for other content.
        """
        kind = self._catalogue.kind_of(wallet)
        account = self._catalogue.account_of(wallet)
        waits = kind.lots is not None
        if not kind.loads_purse or (waits and purse_of(wallet.partition(".")[2]) != purse):
            raise WalletUseForbidden(wallet=wallet, account=account, kind=kind.code, use=f"load {purse.name}")
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, WalletDebit)
            now = self._clock.now()
            require(await uow.purses.lock([purse]), [purse])
            await uow.wallet_books.wallets.find([wallet])
            also = [account, self._chart.float_number, _IN_DOUBT]
            locked = await uow.accounts.lock(also, now)
            if not amount_fen:
                amount_fen = locked[account].balance_fen - locked[account].held_fen if waits else 0
                if amount_fen <= 0:
                    raise WalletInsufficient(
                        wallet=wallet,
                        account=account,
                        balance_fen=locked[account].balance_fen,
                        held_fen=locked[account].held_fen,
                        available_fen=0,
                        amount_fen=0,
                    )
            purchase = Purchase(amount_fen, CARD_LOAD, "")
            plan = await self._planner.plan(uow, purchase, [TenderWish(wallet)], now, also=also, payee=_IN_DOUBT)
            more = (
                Leg(_IN_DOUBT, Side.DEBIT, amount_fen),
                Leg(self._chart.float_number, Side.CREDIT, amount_fen, purse),
            )
            posting = payment(purchase, plan, kind.loads_purse, reference, now, more)
            debit = await hold_debit(
                uow, self._chart, UUID(request.request_id), purchase, plan, posting, expire_time, now
            )
            await uow.requests.answer(request, debit)
            await uow.commit()
        return debit
