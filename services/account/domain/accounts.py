"""Accounts and their balances, kept as sums that only grow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.account.domain.book import Leg
from services.account.domain.chart import AccountKind, Side, chart_number_of, owner_of
from services.account.domain.errors import InsufficientBalance, LimitExceeded
from services.account.domain.wallet_control import WalletControl
from services.account.domain.wallet_errors import WalletControlled


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    Attributes:
        name: `2203.metro-1`, or the number alone for the centre's own.
        kind: Given by the chart.
        create_time: When it was opened.
        debits_fen: Sum of posted debits.
        credits_fen: Sum of posted credits.
        pending_debits_fen: Debits reserved and not resolved.
        pending_credits_fen: Credits reserved and not resolved.
        balance_limit_fen: Most that the balance with pending may reach; 0 means no limit.
        asset: Unit and scale of all amounts, given by the chart.
        overdraft_fen: How far below zero the balance, less what is held, may go; None: no floor.
        wallet: What its being a wallet forbids to other postings.
    """

    name: str
    kind: AccountKind
    create_time: datetime
    debits_fen: int = 0
    credits_fen: int = 0
    pending_debits_fen: int = 0
    pending_credits_fen: int = 0
    balance_limit_fen: int = 0
    asset: str = "CNY/2"
    overdraft_fen: int | None = None
    wallet: WalletControl = WalletControl.NONE

    @property
    def chart_number(self) -> str:
        """Number within the chart."""
        return chart_number_of(self.name)

    @property
    def owner(self) -> str:
        """Owner within the number; empty for the centre's own."""
        return owner_of(self.name)

    @property
    def balance_fen(self) -> int:
        """Balance on the account's own side: what grows it minus what shrinks it."""
        balance = self.debits_fen - self.credits_fen
        return balance if self.kind.grows_by_debits else -balance

    @property
    def committed_fen(self) -> int:
        """Balance with what is pending in its growing direction; pending shrinkage counts only once it is posted."""
        pending = self.pending_debits_fen if self.kind.grows_by_debits else self.pending_credits_fen
        return self.balance_fen + pending

    @property
    def held_fen(self) -> int:
        """What is pending in the shrinking direction: spoken for, and not to be spent twice."""
        return self.pending_credits_fen if self.kind.grows_by_debits else self.pending_debits_fen

    def check_floor(self, *, grows_fen: int, shrinks_fen: int) -> None:
        """Let pass what the balance covers, and everything that does not shrink it.

        Args:
            grows_fen: What the same posting brings; 0 for a reservation, which may yet be given up.
            shrinks_fen: What is to be taken away on the account's own side.

        Raises:
            InsufficientBalance: The balance, less what is held, would fall below the floor.
        """
        amount = shrinks_fen - grows_fen
        if self.overdraft_fen is None or amount <= 0:
            return
        if self.balance_fen - self.held_fen - amount < -self.overdraft_fen:
            raise InsufficientBalance(
                account=self.name,
                balance_fen=self.balance_fen,
                held_fen=self.held_fen,
                overdraft_fen=self.overdraft_fen,
                amount_fen=amount,
            )

    def changed(self, change: "AccountChange") -> "Account":
        """The account after a change."""
        return replace(
            self,
            debits_fen=self.debits_fen + change.debits_fen,
            credits_fen=self.credits_fen + change.credits_fen,
            pending_debits_fen=self.pending_debits_fen + change.pending_debits_fen,
            pending_credits_fen=self.pending_credits_fen + change.pending_credits_fen,
        )

    def check_limit(self, *, grows_fen: int, shrinks_fen: int) -> None:
        """Let pass what the limit covers, and everything that does not grow the balance.

        Args:
            grows_fen: What is to be added on the account's own side.
            shrinks_fen: What the same posting takes away; 0 for a reservation, which may yet be given up.

        Raises:
            LimitExceeded: The limit would be passed.
        """
        amount = grows_fen - shrinks_fen
        if self.balance_limit_fen and amount > 0 and self.committed_fen + amount > self.balance_limit_fen:
            raise LimitExceeded(
                account=self.name,
                limit_fen=self.balance_limit_fen,
                balance_fen=self.committed_fen,
                amount_fen=amount,
            )


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What a journal or reservation adds to one account, in fen; only pending sums may shrink."""

    name: str
    debits_fen: int = 0
    credits_fen: int = 0
    pending_debits_fen: int = 0
    pending_credits_fen: int = 0

    def plus(self, other: "AccountChange") -> "AccountChange":
        """Both together."""
        return AccountChange(
            self.name,
            self.debits_fen + other.debits_fen,
            self.credits_fen + other.credits_fen,
            self.pending_debits_fen + other.pending_debits_fen,
            self.pending_credits_fen + other.pending_credits_fen,
        )


def changes_of(legs: Iterable[Leg], *, posted: int = 0, pending: int = 0) -> list[AccountChange]:
    """Sum legs per account, in the order of names, which is the order in which accounts are locked.

    Args:
        legs: Of one journal or reservation.
        posted: 1 when the legs are posted, else 0.
        pending: 1 when they become pending, -1 when they cease to be, else 0.
    """
    sums: dict[str, list[int]] = {}
    for leg in legs:
        both = sums.setdefault(leg.account, [0, 0])
        both[leg.side is Side.CREDIT] += leg.amount_fen
    return [
        AccountChange(name, posted * debits, posted * credits_, pending * debits, pending * credits_)
        for name, (debits, credits_) in sorted(sums.items())
    ]


def check_limits(accounts: Mapping[str, Account], changes: Sequence[AccountChange]) -> None:
    """Check every account that a journal or reservation would shrink or grow: floors first, then limits.

    Raises:
        InsufficientBalance: Of the first account by name whose balance does not cover it.
        LimitExceeded: Of the first account by name that would pass its limit.
    """
    for change in changes:
        account = accounts[change.name]
        if account.kind.grows_by_debits:
            grows, shrinks = change.debits_fen, change.credits_fen + change.pending_credits_fen
        else:
            grows, shrinks = change.credits_fen, change.debits_fen + change.pending_debits_fen
        account.check_floor(grows_fen=grows, shrinks_fen=shrinks)
    for change in changes:
        account = accounts[change.name]
        if account.kind.grows_by_debits:
            grows, shrinks = change.debits_fen + change.pending_debits_fen, change.credits_fen
        else:
            grows, shrinks = change.credits_fen + change.pending_credits_fen, change.debits_fen
        account.check_limit(grows_fen=grows, shrinks_fen=shrinks)


def check_not_wallets(
    accounts: Mapping[str, Account], changes: Sequence[AccountChange], *, corrects: bool = False
) -> None:
    """Let pass what is not a wallet's own business: grants and lots are looked at by the calls about wallets only.

    Args:
        accounts: That would change.
        changes: How.
        corrects: Whether an earlier journal is taken back, which needs no grant.

    Raises:
        WalletControlled: Of the first account by name that is a wallet and debited, or whose parts are counted.
    """
    for change in changes:
        account = accounts[change.name]
        shrinks = change.credits_fen + change.pending_credits_fen
        if not account.kind.grows_by_debits:
            shrinks = change.debits_fen + change.pending_debits_fen
        debited = account.wallet is WalletControl.DEBITS and shrinks > 0 and not corrects
        if account.wallet is WalletControl.ALL or debited:
            raise WalletControlled(account=account.name)


def add_up(changes: Iterable[AccountChange]) -> list[AccountChange]:
    """Several changes as one per account, in the order of names."""
    sums: dict[str, AccountChange] = {}
    for change in changes:
        before = sums.get(change.name)
        sums[change.name] = change if before is None else before.plus(change)
    return [sums[name] for name in sorted(sums)]
