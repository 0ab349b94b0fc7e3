"""Pays out of wallets: one debit over one or more of them, whole or not at all."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, Transaction, UnitOfWork
from services.account.application.wallet_planning import WalletPlanner, debit_of
from services.account.domain.book import Leg, NewJournal, Posting
from services.account.domain.chart import Chart
from services.account.domain.reservation import Reservation, ReservationState
from services.account.domain.wallet_debits import DebitState, WalletDebit, lot_changes
from services.account.domain.wallet_plan import Plan, Purchase, TenderWish
from services.account.domain.wallets import Catalogue

EVENT = "wallet_debit"


class DebitWallets:
    """Pays out of wallets, at once or by holding the amounts first."""

    def __init__(
        self, transaction: Transaction, chart: Chart, catalogue: Catalogue, clock: Clock, new_id: IdFactory
    ) -> None:
        self._transaction = transaction
        self._chart = chart
        self._catalogue = catalogue
        self._planner = WalletPlanner(catalogue)
        self._clock = clock
        self._new_id = new_id

    async def __call__(
        self, purchase: Purchase, wishes: Sequence[TenderWish], reference: str, request: RequestKey
    ) -> WalletDebit:
        """Pay now.

        Raises:
            PurposeUnknown: The catalogue has no such purpose.
            WalletKindUnknown, WalletUnknown and what `plan_debit` raises: First match wins.
            LimitExceeded: Of an account that is credited.
            RequestIdReused: The id was used for other content.
        """
        self._catalogue.check_purposes(frozenset((purchase.purpose,)))
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, WalletDebit)
            now = self._clock.now()
            plan = await self._planner.plan(uow, purchase, wishes, now)
            posting = payment(purchase, plan, EVENT, reference, now)
            debit = await post_debit(
                uow, self._chart, UUID(request.request_id), self._new_id(), purchase, plan, posting, now
            )
            await uow.requests.answer(request, debit)
            await uow.commit()
        return debit

    async def reserve(
        self,
        purchase: Purchase,
        wishes: Sequence[TenderWish],
        reference: str,
        expire_time: datetime | None,
        request: RequestKey,
    ) -> WalletDebit:
        """Hold the amounts; the reservation of the same id is committed, voided or expires as every other.

        Raises:
            As paying now.
        """
        self._catalogue.check_purposes(frozenset((purchase.purpose,)))
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, WalletDebit)
            now = self._clock.now()
            plan = await self._planner.plan(uow, purchase, wishes, now)
            posting = payment(purchase, plan, EVENT, reference, now)
            debit = await hold_debit(
                uow, self._chart, UUID(request.request_id), purchase, plan, posting, expire_time, now
            )
            await uow.requests.answer(request, debit)
            await uow.commit()
        return debit


def payment(
    purchase: Purchase, plan: Plan, event: str, reference: str, now: datetime, more: Sequence[Leg] = ()
) -> Posting:
    """The posting of a plan: a debit and a credit per tender, in order, then what else belongs to it."""
    legs = tuple(leg for tender in plan.tenders for leg in tender.legs())
    return Posting(event, reference, (*legs, *more), now, purchase.participant, purchase.purpose, purchase.member)


async def post_debit(
    uow: UnitOfWork,
    chart: Chart,
    debit_id: UUID,
    journal_id: UUID,
    purchase: Purchase,
    plan: Plan,
    posting: Posting,
    now: datetime,
) -> WalletDebit:
    """Post a plan and keep it as a debit; the book is locked last.

    Raises:
        LimitExceeded: Of an account that is credited.
    """
    accounts = await book(uow, chart, now, posted=posting, limited=True, by_wallets=True)
    debit = debit_of(debit_id, DebitState.POSTED, purchase, plan, posting.reference, now, journal_id)
    await uow.wallet_books.debits.add(debit)
    await uow.wallet_books.wallets.change_lots(lot_changes(None, debit))
    await uow.journals.post([NewJournal(journal_id, posting, sums_after(posting, accounts))], now)
    return debit


async def hold_debit(
    uow: UnitOfWork,
    chart: Chart,
    debit_id: UUID,
    purchase: Purchase,
    plan: Plan,
    posting: Posting,
    expire_time: datetime | None,
    now: datetime,
) -> WalletDebit:
    """Hold a plan by a reservation of the debit's id.

    Raises:
        LimitExceeded: Of an account that would be credited.
        RequestIdReused: Another caller's reservation has the same id.
    """
    await book(uow, chart, now, held=posting, limited=True, by_wallets=True)
    await uow.reservations.add(Reservation(debit_id, ReservationState.PENDING, posting, expire_time, None, now))
    debit = debit_of(debit_id, DebitState.HELD, purchase, plan, posting.reference, now, None)
    await uow.wallet_books.debits.add(debit)
    await uow.wallet_books.wallets.change_lots(lot_changes(None, debit))
    return debit
