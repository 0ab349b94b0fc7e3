"""Auto top-up: asks a mandate, and notes how it ended (自动充值)."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.errors import DomainError, NotYours
from libs.runtime.requests import RequestKey
from services.account.application.booking import book, sums_after
from services.account.application.move_value import Mover
from services.account.application.open_wallet import ensure_wallet
from services.account.application.ports import IdFactory, Transaction, UnitOfWork
from services.account.application.wallet_planning import city_day
from services.account.domain.book import Leg, NewJournal, Posting
from services.account.domain.chart import Chart, Side
from services.account.domain.mandates import TopUp, TopUpState, TopUpVerdict, decide_top_up
from services.account.domain.purse import PurseKey
from services.account.domain.wallet_lots import Lot
from services.account.domain.wallet_rules import Mandate, Version
from services.account.domain.wallets import Catalogue, purse_of

EVENT = "auto_top_up"
# What is owed by the bank that was asked, until it settles.
_BANKS = "2216"


@dataclass(frozen=True, slots=True)
class TopUpDecision:
    """What a mandate said to a balance; `top_up` is there when it tops up.

    Attributes:
        verdict: What it said.
        balance_fen: The balance that it was asked about.
        top_up: The top-up that was begun, or done; None when nothing is due.
    """

    verdict: TopUpVerdict
    balance_fen: int
    top_up: TopUp | None = None


class TriggerTopUp:
    """Asks a mandate about the balance; when it tops up, the value moves at once or its bank is to be asked."""

    def __init__(
        self, transaction: Transaction, chart: Chart, catalogue: Catalogue, clock: Clock, new_id: IdFactory
    ) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._clock = clock
        self._mover = Mover(chart, catalogue, new_id)

    async def __call__(self, name: str, observed_fen: int | None, request: RequestKey) -> TopUpDecision:
        """Decide, under the lock of the mandate's wallet.

        Args:
            name: Of the mandate.
            observed_fen: What the card itself said it holds; None: what the books say.
            request: Names the top-up.

        Raises:
            RuleUnknown: There is no such mandate.
            WalletUnknown, PurseUnknown: What it tops up is gone, or not heard of.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, TopUpDecision)
            now = self._clock.now()
            newest = await uow.wallet_books.rules.get(Mandate, name)
            target = target_of(newest.rule)
            source = newest.rule.source.removeprefix("wallets/") if newest.rule.source.startswith("wallets/") else ""
            accounts = [self._catalogue.account_of(one) for one in (target, source) if one]
            await uow.accounts.lock(accounts, now)
            balance = observed_fen if observed_fen is not None else await self._balance(uow, newest.rule)
            decision = TopUpDecision(TopUpVerdict.NOT_IN_FORCE, balance)
            for version in await uow.wallet_books.rules.in_force(Mandate, [newest.rule.wallet], now, [name]):
                # A version that is not the newest may still count; only its target was locked if it is the same.
                if target_of(version.rule) == target:
                    decision = await self._decide(uow, version, UUID(request.request_id), balance, now)
            await uow.requests.answer(request, decision)
            await uow.commit()
        return decision

    async def _balance(self, uow: UnitOfWork, mandate: Mandate) -> int:
        """What is there, with what waits for the card: it is the holder's already, and not topped up twice."""
        account_name = self._catalogue.account_of(target_of(mandate))
        account = (await uow.accounts.find([account_name])).get(account_name)
        waiting = 0 if account is None else account.balance_fen - account.held_fen
        key = _purse(mandate)
        if key is None:
            await uow.wallet_books.wallets.find([mandate.wallet])
            return waiting
        purse = await uow.purses.get(key)
        return purse.balance_fen + purse.pending_loads_fen + waiting

    async def _decide(
        self, uow: UnitOfWork, version: Version[Mandate], top_up_id: UUID, balance: int, now: datetime
    ) -> TopUpDecision:
        mandate, day = version.rule, city_day(now)
        history = await uow.wallet_books.top_ups.history(mandate.name, version.record_time, day)
        verdict = decide_top_up(mandate, balance, history, now)
        if verdict is not TopUpVerdict.DUE:
            return TopUpDecision(verdict, balance)
        top_up = TopUp(
            top_up_id, mandate.name, target_of(mandate), mandate.source, mandate.amount_fen, TopUpState.ASKED, "", now
        )
        if mandate.source.startswith("wallets/"):
            top_up = await self._move(uow, mandate, top_up, now)
        await uow.wallet_books.top_ups.add(top_up, day)
        return TopUpDecision(verdict, balance, top_up)

    async def _move(self, uow: UnitOfWork, mandate: Mandate, top_up: TopUp, now: datetime) -> TopUp:
        source, target = mandate.source.removeprefix("wallets/"), target_of(mandate)
        try:
            await self._mover.move(uow, top_up.id, source, target, mandate.amount_fen, f"topUps/{top_up.id}", now)
        except DomainError as refusal:
            # Nothing was written before it: what refuses is asked first. The failure itself is kept, and counts.
            return top_up.resolve(succeeded=False, note=refusal.reason, now=now)
        return top_up.resolve(succeeded=True, note="", now=now)


class ResolveTopUp:
    """Notes what the bank answered: the value is credited once, or the failure counts."""

    def __init__(
        self, transaction: Transaction, chart: Chart, catalogue: Catalogue, clock: Clock, new_id: IdFactory
    ) -> None:
        self._transaction = transaction
        self._chart = chart
        self._catalogue = catalogue
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, top_up_id: UUID, participant: str | None, *, succeeded: bool, note: str) -> TopUp:
        """End it; the same answer again changes nothing.

        Args:
            top_up_id: Which.
            participant: Whose mandates the caller answers for; None: everybody's.
            succeeded: Whether the bank was debited.
            note: The bank's word when it was not.

        Raises:
            TopUpUnknown: There is none.
            NotYours: Another bank was asked.
            TopUpResolved: It ended the other way.
            WalletStateForbids, LimitExceeded: The wallet cannot take it; the bank is to give it back.
        """
        async with self._transaction() as uow:
            books = uow.wallet_books
            found = await books.top_ups.get(top_up_id)
            if participant is not None and found.source != f"participants/{participant}":
                raise NotYours
            now = self._clock.now()
            account = self._catalogue.account_of(found.wallet)
            bank = f"{_BANKS}.{found.source.removeprefix('participants/')}"
            # One that moved between wallets has ended: nothing to lock, and no bank.
            if found.state is TopUpState.ASKED:
                await uow.accounts.lock([account, bank], now)
                found = await books.top_ups.get(top_up_id)
            ended = found.resolve(succeeded=succeeded, note=note, now=now)
            if ended is found:
                return found
            await books.top_ups.save(ended)
            if succeeded:
                await self._credit(uow, ended, account, bank, now)
            await uow.commit()
        return ended

    async def _credit(self, uow: UnitOfWork, top_up: TopUp, account: str, bank: str, now: datetime) -> None:
        target = top_up.wallet
        kind = self._catalogue.kind_of(target)
        wallet = await ensure_wallet(uow, kind, target.partition(".")[2], now)
        wallet.check_may_take(account)
        legs = (Leg(bank, Side.DEBIT, top_up.amount_fen), Leg(account, Side.CREDIT, top_up.amount_fen))
        posting = Posting(EVENT, f"topUps/{top_up.id}", legs, now)
        after = await book(uow, self._chart, now, posted=posting, limited=True, by_wallets=True)
        if kind.lots is not None:
            reference = posting.reference
            await uow.wallet_books.wallets.add_lot(
                Lot(0, target, top_up.amount_fen, (), None, None, bank, reference, now)
            )
        await uow.journals.post([NewJournal(self._new_id(), posting, sums_after(posting, after))], now)


def target_of(mandate: Mandate) -> str:
    """The wallet that is credited: for a purse what waits for its card."""
    kind, _, holder = mandate.wallet.partition(".")
    return f"pending.{holder}" if kind == "purse" else mandate.wallet


def _purse(mandate: Mandate) -> PurseKey | None:
    kind, _, holder = mandate.wallet.partition(".")
    return purse_of(holder) if kind == "purse" else None
