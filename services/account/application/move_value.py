"""Moves value between wallets of holders: no participant is paid."""

from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.debit_wallets import payment, post_debit
from services.account.application.open_wallet import ensure_wallet
from services.account.application.ports import IdFactory, Transaction, UnitOfWork
from services.account.application.wallet_planning import WalletPlanner
from services.account.domain.chart import Chart
from services.account.domain.wallet_debits import WalletDebit
from services.account.domain.wallet_errors import WalletUnknown, WalletUseForbidden
from services.account.domain.wallet_lots import Lot
from services.account.domain.wallet_plan import Purchase, TenderWish
from services.account.domain.wallets import MOVE, Catalogue, check_holder

EVENT = "wallet_move"
# Opened when something first waits for the card.
_OPENED_BY_MOVES = "pending"


class MoveValue:
    """Moves value where the kind says it may go: online account to what waits for the card (待补登), and back."""

    def __init__(
        self, transaction: Transaction, chart: Chart, catalogue: Catalogue, clock: Clock, new_id: IdFactory
    ) -> None:
        self._transaction = transaction
        self._mover = Mover(chart, catalogue, new_id)
        self._clock = clock

    async def __call__(
        self, source: str, target: str, amount_fen: int, reference: str, request: RequestKey
    ) -> WalletDebit:
        """Move an amount above 0; `pending.{card}` is opened when it is not there.

        Raises:
            WalletKindUnknown, HolderMismatch, WalletUseForbidden (the source's kind does not move there),
                WalletUnknown, WalletStateForbids, WalletInsufficient, LimitExceeded (of the target): First match wins.
            RequestIdReused: The id was used for other content.
        """
        self._mover.check(source, target)
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, WalletDebit)
            debit = await self._mover.move(
                uow, UUID(request.request_id), source, target, amount_fen, reference, self._clock.now()
            )
            await uow.requests.answer(request, debit)
            await uow.commit()
        return debit


class Mover:
    """The move within a transaction, for whoever moves: the holder, or its mandate."""

    def __init__(self, chart: Chart, catalogue: Catalogue, new_id: IdFactory) -> None:
        self._chart = chart
        self._catalogue = catalogue
        self._planner = WalletPlanner(catalogue)
        self._new_id = new_id

    def check(self, source: str, target: str) -> None:
        """Let pass what kinds permit; medical and other earmarked wallets move nowhere (section 11).

        Raises:
            WalletKindUnknown, HolderMismatch, WalletUseForbidden: As the use case.
        """
        kind, target_kind = self._catalogue.kind_of(source), self._catalogue.kind_of(target)
        check_holder(target_kind, target.partition(".")[2])
        if target_kind.code not in kind.moves_to or source == target:
            account = self._catalogue.account_of(source)
            raise WalletUseForbidden(wallet=source, account=account, kind=kind.code, use=f"move to {target_kind.code}")

    async def move(
        self, uow: UnitOfWork, debit_id: UUID, source: str, target: str, amount_fen: int, reference: str, now: datetime
    ) -> WalletDebit:
        """Move it; `check` let it pass.

        Raises:
            WalletUnknown, WalletStateForbids, WalletInsufficient, LimitExceeded: As the use case.
        """
        wallets, kind = uow.wallet_books.wallets, self._catalogue.kind_of(target)
        account, holder = self._catalogue.account_of(target), target.partition(".")[2]
        purchase = Purchase(amount_fen, MOVE, "")
        if kind.code != _OPENED_BY_MOVES:
            await wallets.find([target])
        plan = await self._planner.plan(
            uow, purchase, [TenderWish(source)], now, also=[account, self._catalogue.account_of(source)], payee=account
        )
        try:
            found = (await wallets.find([target]))[target]
        except WalletUnknown:
            found = await ensure_wallet(uow, kind, holder, now)
        found.check_may_take(account)
        posting = payment(purchase, plan, EVENT, reference, now)
        debit = await post_debit(uow, self._chart, debit_id, self._new_id(), purchase, plan, posting, now)
        if kind.lots is not None:
            origin = self._catalogue.account_of(source)
            await wallets.add_lot(Lot(0, target, amount_fen, (), None, None, origin, reference, now))
        return debit
