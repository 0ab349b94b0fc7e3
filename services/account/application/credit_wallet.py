"""Puts something into a wallet."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.errors import NotYours
from libs.runtime.requests import RequestKey
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory, Transaction, UnitOfWork
from services.account.application.wallet_planning import WalletPlanner
from services.account.domain.accounts import Account
from services.account.domain.book import Leg, NewJournal, Posting
from services.account.domain.chart import Chart, OwnedBy, Side, chart_number_of, owner_of
from services.account.domain.errors import InsufficientBalance
from services.account.domain.wallet_errors import (
    GrantMissing,
    SourceForbidden,
    ValidityMismatch,
    WalletLimitExceeded,
)
from services.account.domain.wallet_lots import Lot
from services.account.domain.wallet_rules import GrantAction
from services.account.domain.wallets import Catalogue, Expires, Wallet, WalletKind

EVENT = "wallet_credit"


@dataclass(frozen=True, slots=True)
class CreditOrder:
    """What is to be put in.

    Attributes:
        wallet: Where.
        amount_fen: How much, in the unit of the wallet.
        source: Account that it comes from, `1221.north`.
        reference: What for.
        participant: Who does it; its grant is asked for. Empty: the centre, which needs none.
        purposes: What it may pay, in order; empty: all that the kind may.
        valid_from: Not before.
        valid_until: Not from then on.
        price_fen: What was paid for it, when it is no money itself; 0: nothing.
        price_account: Account of who owes the price, `1221.north`.
    """

    wallet: str
    amount_fen: int
    source: str
    reference: str
    participant: str = ""
    purposes: tuple[str, ...] = ()
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    price_fen: int = 0
    price_account: str = ""


@dataclass(frozen=True, slots=True)
class WalletCredit:
    """What was put in: the journal that posted it, and the number of its lot (0 where the wallet has none)."""

    wallet: str
    amount_fen: int
    journal: UUID
    lot: int


class CreditWallet:
    """Puts something into a wallet."""

    def __init__(
        self, transaction: Transaction, chart: Chart, catalogue: Catalogue, clock: Clock, new_id: IdFactory
    ) -> None:
        self._transaction = transaction
        self._chart = chart
        self._catalogue = catalogue
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, order: CreditOrder, request: RequestKey) -> WalletCredit:
        """Put it in, as a lot where the kind has lots.

        Raises:
            WalletKindUnknown, PurposeUnknown, SourceForbidden, ValidityMismatch, WalletUnknown, WalletStateForbids,
                NotYours, GrantMissing, WalletLimitExceeded, InsufficientBalance (of a source that must cover it),
                LimitExceeded: First match wins.
            RequestIdReused: The id was used for other content.
        """
        kind = self._catalogue.kind_of(order.wallet)
        self._catalogue.check_purposes(frozenset(order.purposes))
        self._check_source(order, kind)
        now = self._clock.now()
        check_validity(order, kind, now)
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, WalletCredit)
            posting = self._posting(order, kind, now)
            await uow.wallet_books.wallets.find([order.wallet])
            accounts = await uow.accounts.lock({leg.account for leg in posting.legs}, now)
            wallet = (await uow.wallet_books.wallets.find([order.wallet]))[order.wallet]
            account = self._catalogue.account_of(order.wallet)
            wallet.check_may_take(account)
            await self._check_grant(uow, order, wallet, now)
            if chart_number_of(order.source) in kind.covered_sources:
                check_covered(accounts[order.source], order.amount_fen)
            after = await book(uow, self._chart, now, posted=posting, limited=True, by_wallets=True)
            lot = 0
            if kind.lots is not None:
                lot = (await uow.wallet_books.wallets.add_lot(_lot(order, now))).id
            journal_id = self._new_id()
            await uow.journals.post([NewJournal(journal_id, posting, sums_after(posting, after))], now)
            credit = WalletCredit(order.wallet, order.amount_fen, journal_id, lot)
            await uow.requests.answer(request, credit)
            await uow.commit()
        return credit

    def _check_source(self, order: CreditOrder, kind: WalletKind) -> None:
        number = chart_number_of(order.source)
        facts = {"wallet": order.wallet, "account": self._catalogue.account_of(order.wallet)}
        if number not in kind.sources | kind.covered_sources or order.source == facts["account"]:
            raise SourceForbidden(**facts, source=order.source)
        if order.price_fen and (not kind.presold or chart_number_of(order.price_account) not in ("1002", "1221")):
            raise SourceForbidden(**facts, source=order.price_account or "price")

    async def _check_grant(self, uow: UnitOfWork, order: CreditOrder, wallet: Wallet, now: datetime) -> None:
        """Ask for the grant of a participant, which gives only what is its own."""
        if not order.participant:
            return
        owned_by = self._chart.line(order.source).owned_by
        if owned_by is not OwnedBy.PARTICIPANT or owner_of(order.source) != order.participant:
            raise NotYours
        grants = await WalletPlanner.grants(
            uow, GrantAction.CREDIT, [wallet], frozenset(order.purposes), order.participant, now
        )
        grant = grants.get(wallet.name)
        account = self._catalogue.account_of(order.wallet)
        if grant is None:
            raise GrantMissing(
                participant=order.participant,
                wallet=order.wallet,
                account=account,
                action="credit",
                purpose=", ".join(order.purposes),
            )
        limit = grant.rule.limits.per_transaction_fen
        if limit and order.amount_fen > limit:
            raise WalletLimitExceeded(
                wallet=order.wallet,
                account=account,
                limit=f"grants/{grant.rule.name} per_transaction",
                limit_fen=limit,
                used_fen=0,
                amount_fen=order.amount_fen,
            )

    def _posting(self, order: CreditOrder, kind: WalletKind, now: datetime) -> Posting:
        account = self._catalogue.account_of(order.wallet)
        legs = [Leg(order.source, Side.DEBIT, order.amount_fen), Leg(account, Side.CREDIT, order.amount_fen)]
        if order.price_fen:
            legs += [
                Leg(order.price_account, Side.DEBIT, order.price_fen),
                Leg(kind.presold, Side.CREDIT, order.price_fen),
            ]
        return Posting(EVENT, order.reference, tuple(legs), now, order.participant)


def check_validity(order: CreditOrder, kind: WalletKind, now: datetime) -> None:
    """Let pass what fits the lots of the kind.

    Raises:
        ValidityMismatch: The first rule that is broken is the fact `rule`.
    """
    rule = ""
    until = order.valid_until
    if kind.lots is None and (order.purposes or order.valid_from or until):
        rule = "no validity and no earmark"
    elif kind.expires is Expires.NEVER and until is not None:
        rule = "no end"
    elif kind.expires is Expires.REQUIRED and until is None:
        rule = "an end"
    elif kind.earmarked and not order.purposes:
        rule = "an earmark"
    elif kind.purposes and not set(order.purposes) <= kind.purposes:
        rule = "no other purposes than the kind's"
    elif until is not None and until <= max(now, order.valid_from or now):
        rule = "an end in the future and after its beginning"
    if rule:
        raise ValidityMismatch(wallet=order.wallet, kind=kind.code, rule=rule)


def check_covered(source: Account, amount_fen: int) -> None:
    """Let pass what the source holds.

    Raises:
        InsufficientBalance: It holds less, or holds it for others.
    """
    if source.balance_fen - source.held_fen < amount_fen:
        raise InsufficientBalance(
            account=source.name,
            balance_fen=source.balance_fen,
            held_fen=source.held_fen,
            overdraft_fen=0,
            amount_fen=amount_fen,
        )


def _lot(order: CreditOrder, now: datetime) -> Lot:
    return Lot(
        0,
        order.wallet,
        order.amount_fen,
        tuple(sorted(order.purposes)),
        order.valid_from,
        order.valid_until,
        order.source,
        order.reference,
        now,
    )
