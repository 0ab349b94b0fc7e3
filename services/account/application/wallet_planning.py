"""Reads what a debit of wallets needs, under the locks of their accounts, and has the domain decide."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from uuid import UUID

from libs.clock import CITY_TZ
from libs.errors import RequestMalformed
from services.account.application.ports import UnitOfWork
from services.account.domain.accounts import Account
from services.account.domain.wallet_debits import DebitState, WalletDebit
from services.account.domain.wallet_plan import Bearer, Plan, Purchase, TenderWish, plan_debit
from services.account.domain.wallet_rules import (
    Grant,
    GrantAction,
    ParticipantRole,
    Used,
    Version,
    WalletMember,
    choose_grant,
)
from services.account.domain.wallets import Catalogue, Wallet


def city_day(now: datetime) -> date:
    """The day of a moment in the city: limits count by it."""
    return now.astimezone(CITY_TZ).date()


class WalletPlanner:
    """Plans debits; one place for all calls that take something out of a wallet."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def plan(
        self,
        uow: UnitOfWork,
        purchase: Purchase,
        wishes: Sequence[TenderWish],
        now: datetime,
        also: Iterable[str] = (),
        payee: str = "",
    ) -> Plan:
        """Lock the accounts that the debit touches, in the order of names, and decide who bears what.

        Args:
            uow: The transaction; purses, when there are any, are locked by now.
            purchase: What is paid.
            wishes: Which wallets shall bear it; each once.
            now: The moment of the decision.
            also: Accounts that the same posting touches.
            payee: Account that is credited instead of the kind's own.

        Raises:
            RequestMalformed: A wallet is named twice.
            WalletKindUnknown, WalletUnknown: Of the first wish that names none.
            Further as `plan_debit`.
        """
        names = [wish.wallet for wish in wishes]
        if len(set(names)) < len(names):
            raise RequestMalformed(field="tenders", description="name a wallet twice")
        kinds = [self._catalogue.kind_of(name) for name in names]
        accounts = [self._catalogue.account_of(name) for name in names]
        # Before the locks, which would open an account for a wallet that is not there.
        await uow.wallet_books.wallets.find(names)
        payees = {payee or kind.payee_account(purchase.participant) for kind in kinds if payee or kind.payee}
        rides = {
            number
            for kind, name in zip(kinds, names, strict=True)
            if kind.rides is not None
            for number in (f"{kind.rides[0]}.{name.partition('.')[2]}", kind.payee_account(purchase.participant))
        }
        locked = await uow.accounts.lock({*accounts, *payees, *rides, *also}, now)
        wallets = await uow.wallet_books.wallets.find(names)
        bearers = await self._bearers(uow, purchase, [wallets[name] for name in names], locked, now)
        plan = plan_debit(purchase, wishes, bearers, now, city_day(now))
        return plan if not payee else plan.paid_to(payee)

    async def _bearers(
        self,
        uow: UnitOfWork,
        purchase: Purchase,
        wallets: Sequence[Wallet],
        accounts: dict[str, Account],
        now: datetime,
    ) -> list[Bearer]:
        books, day = uow.wallet_books, city_day(now)
        names = [wallet.name for wallet in wallets]
        lots = await books.wallets.lots(names)
        grants = await self.grants(
            uow, GrantAction.DEBIT, wallets, frozenset((purchase.purpose,)), purchase.participant, now
        )
        members: dict[str, Version[WalletMember]] = {}
        shared = [wallet.name for wallet in wallets if purchase.member not in ("", wallet.holder)]
        if shared:
            wanted = [f"{name}/{purchase.member}" for name in shared]
            found = await books.rules.in_force(WalletMember, shared, now, wanted)
            members = {version.rule.wallet: version for version in found}
        bearers = [
            Bearer(
                kind=self._catalogue.kind(wallet.kind),
                wallet=wallet,
                account=accounts[self._catalogue.account_of(wallet.name)],
                lots=lots[wallet.name],
                grant=grants.get(wallet.name),
                member=members.get(wallet.name),
            )
            for wallet in wallets
        ]
        pairs = {
            bearer.wallet.name: (bearer.grant.rule.name, bearer.subject(purchase))
            for bearer in bearers
            if bearer.grant is not None
        }
        granted = await books.debits.used(set(pairs.values()), day) if pairs else {}
        by_member = await books.debits.used_by_member(members, purchase.member, day) if members else {}
        return [
            Bearer(
                bearer.kind,
                bearer.wallet,
                bearer.account,
                bearer.lots,
                bearer.grant,
                granted[pairs[bearer.wallet.name]] if bearer.wallet.name in pairs else Used(),
                bearer.member,
                by_member.get(bearer.wallet.name, Used()),
            )
            for bearer in bearers
        ]

    @staticmethod
    async def grants(
        uow: UnitOfWork,
        action: GrantAction,
        wallets: Sequence[Wallet],
        purposes: frozenset[str],
        participant: str,
        now: datetime,
    ) -> dict[str, Version[Grant]]:
        """The grant that decides for each wallet; those without one are missing."""
        if not participant:
            return {}
        rules = uow.wallet_books.rules
        found = await rules.in_force(Grant, {wallet.kind for wallet in wallets}, now)
        roles = frozenset(version.rule.role for version in await rules.in_force(ParticipantRole, [participant], now))
        chosen = {
            wallet.name: choose_grant(
                (version for version in found if version.rule.kind == wallet.kind),
                action,
                wallet.name,
                purposes,
                participant,
                roles,
            )
            for wallet in wallets
        }
        return {name: version for name, version in chosen.items() if version is not None}


def debit_of(
    debit_id: UUID,
    state: DebitState,
    purchase: Purchase,
    plan: Plan,
    reference: str,
    now: datetime,
    journal: UUID | None,
) -> WalletDebit:
    """The debit that a plan makes."""
    return WalletDebit(
        debit_id,
        state,
        purchase.participant,
        purchase.purpose,
        purchase.member,
        reference,
        purchase.total_fen,
        plan.own_pay_fen,
        now,
        journal,
        plan.tenders,
    )
