"""What wallets need of the world. Fakes and the PostgreSQL adapters pass the same suites.

Nothing here has locks of its own: whatever belongs to a wallet is read and written under the lock of its account.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Protocol, TypeVar
from uuid import UUID

from services.account.domain.mandates import TopUp, TopUpHistory
from services.account.domain.wallet_control import WalletControl
from services.account.domain.wallet_debits import WalletDebit
from services.account.domain.wallet_lots import EndedLot, Lot, LotChange
from services.account.domain.wallet_rules import Rule, Used, Version
from services.account.domain.wallets import Wallet

R = TypeVar("R", bound=Rule)


class WalletRepository(Protocol):
    """Wallets and their lots."""

    async def find(self, names: Collection[str]) -> dict[str, Wallet]:
        """Wallets by name.

        Raises:
            WalletUnknown: Naming the first in the order given that does not exist.
        """
        ...

    async def list_page(
        self, after: tuple[str, str], limit: int, kind: str, holder: str, *, filled: bool
    ) -> list[Wallet]:
        """Wallets behind (holder, kind), in that order; only of a kind, of a holder, with a balance when so asked."""
        ...

    async def add(self, wallet: Wallet, account: str, control: WalletControl) -> bool:
        """Keep a new wallet and mark its account, which is locked; False when there is one of that name."""
        ...

    async def save(self, wallet: Wallet) -> None:
        """Write the state of a wallet whose account is locked."""
        ...

    async def lots(self, names: Collection[str]) -> dict[str, list[Lot]]:
        """The lots of wallets that still have a balance, the oldest first; every name has a list."""
        ...

    async def list_lots(self, name: str, after: int, limit: int) -> list[Lot]:
        """All lots of a wallet behind a number, the oldest first."""
        ...

    async def add_lot(self, lot: Lot) -> Lot:
        """Keep a new lot; its number is given here."""
        ...

    async def change_lots(self, changes: Sequence[LotChange]) -> None:
        """Add to the sums of lots whose accounts are locked."""
        ...

    async def ended_wallets(self, now: datetime, limit: int) -> list[str]:
        """Wallets with lots that ended and hold something free, those that ended first; nothing is locked."""
        ...

    async def end_lots(self, names: Collection[str], now: datetime) -> list[EndedLot]:
        """End what is over in wallets whose accounts are locked: what nobody holds leaves the lots."""
        ...


class WalletRuleRepository(Protocol):
    """Grants, roles, members and mandates in all their versions."""

    async def in_force(
        self, cls: type[R], scopes: Collection[str], at: datetime, names: Collection[str] | None = None
    ) -> list[Version[R]]:
        """The rules of a kind that let pass at a moment, by name; only of some names when these are given."""
        ...

    async def get(self, cls: type[R], name: str, number: int = 0) -> Version[R]:
        """One version of a rule; 0: the newest.

        Raises:
            RuleUnknown: There is none.
        """
        ...

    async def add(self, version: Version[R]) -> Version[R]:
        """Keep a version under the next number of its rule, whatever number it has; two at once wait for each other."""
        ...

    async def list_page(
        self, cls: type[R], after: tuple[str, int], limit: int, scope: str, name: str
    ) -> list[Version[R]]:
        """All versions behind (name, number); only of a scope, only of a name when these are given."""
        ...


class WalletDebitRepository(Protocol):
    """Debits, and what they say about limits."""

    async def add(self, debit: WalletDebit) -> None:
        """Keep a new one; the accounts of its wallets are locked."""
        ...

    async def get(self, debit_id: UUID) -> WalletDebit:
        """One debit.

        Raises:
            DebitUnknown: There is none.
        """
        ...

    async def save(self, debit: WalletDebit) -> None:
        """Write state, journal, and what was released and reversed; the accounts of its wallets are locked."""
        ...

    async def used(self, grants: Collection[tuple[str, str]], day: date) -> dict[tuple[str, str], Used]:
        """What was taken under (grant, subject) up to a day: of day, month and year. Every pair is answered."""
        ...

    async def used_by_member(self, wallets: Collection[str], member: str, day: date) -> dict[str, Used]:
        """What a member took out of wallets, likewise. Every wallet is answered."""
        ...


class TopUpRepository(Protocol):
    """Top-ups under mandates."""

    async def add(self, top_up: TopUp, day: date) -> None:
        """Keep a new one; the account of the mandate's wallet is locked."""
        ...

    async def get(self, top_up_id: UUID) -> TopUp:
        """One top-up.

        Raises:
            TopUpUnknown: There is none.
        """
        ...

    async def save(self, top_up: TopUp) -> None:
        """Write how it ended; the account of the mandate's wallet is locked."""
        ...

    async def history(self, mandate: str, since: datetime, day: date) -> TopUpHistory:
        """What a decision needs to know; failures count from `since` on."""
        ...


class WalletBooks(Protocol):
    """Everything about wallets within one transaction."""

    @property
    def wallets(self) -> WalletRepository:
        """Wallets and lots."""
        ...

    @property
    def rules(self) -> WalletRuleRepository:
        """Grants, roles, members, mandates."""
        ...

    @property
    def debits(self) -> WalletDebitRepository:
        """Debits."""
        ...

    @property
    def top_ups(self) -> TopUpRepository:
        """Top-ups."""
        ...
