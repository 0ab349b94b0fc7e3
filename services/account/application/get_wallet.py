"""Wallets as their holders see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.clock import Clock
from services.account.application.ports import Transaction, UnitOfWork
from services.account.domain.accounts import Account
from services.account.domain.wallet_errors import WalletUnknown
from services.account.domain.wallet_lots import Lot
from services.account.domain.wallets import Catalogue, Wallet, WalletKind, WalletState, purse_of


@dataclass(frozen=True, slots=True)
class WalletView:
    """One wallet with its figures, in the unit of its kind.

    Attributes:
        wallet: The wallet.
        kind: Its kind.
        account: Name of its account; of a purse the card float.
        balance_fen: What is in it.
        held_fen: Of it held by reservations.
        available_fen: What can be taken now, for one purpose or another.
        limit_fen: Most that it may hold; 0: no limit.
        purse: Name of the purse, of a purse.
    """

    wallet: Wallet
    kind: WalletKind
    account: str
    balance_fen: int
    held_fen: int
    available_fen: int
    limit_fen: int = 0
    purse: str = ""


class GetWallet:
    """Reads one wallet."""

    def __init__(self, transaction: Transaction, catalogue: Catalogue, clock: Clock) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._clock = clock

    async def __call__(self, name: str) -> WalletView:
        """One wallet; a purse is the centre's copy of what the card holds.

        Raises:
            WalletKindUnknown, WalletUnknown, PurseUnknown: There is none.
        """
        kind = self._catalogue.kind_of(name)
        async with self._transaction() as uow:
            if not kind.sources:
                return await self._purse(uow, kind, name)
            wallet = (await uow.wallet_books.wallets.find([name]))[name]
            (view,) = await views(uow, self._catalogue, [wallet], self._clock.now())
        return view

    async def _purse(self, uow: UnitOfWork, kind: WalletKind, name: str) -> WalletView:
        holder = name.partition(".")[2]
        key = purse_of(holder)
        if key is None:
            raise WalletUnknown(wallet=name)
        purse = await uow.purses.get(key)
        wallet = Wallet(kind.code, holder, WalletState.OPEN, purse.last_time or self._clock.now())
        free = purse.balance_fen - purse.pending_debits_fen
        return WalletView(
            wallet, kind, kind.number, purse.balance_fen, purse.pending_debits_fen, max(free, 0), 0, key.name
        )


class ListWallets:
    """Reads a page of wallets."""

    def __init__(self, transaction: Transaction, catalogue: Catalogue, clock: Clock) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._clock = clock

    async def __call__(
        self, after: tuple[str, str], limit: int, kind: str, holder: str, *, filled: bool
    ) -> list[WalletView]:
        """Wallets behind (holder, kind); only of a kind, of a holder, with a balance when these are given.

        `kind="pending", filled=True` is the action list of what waits for cards.

        Raises:
            WalletKindUnknown: The kind is not in the catalogue.
        """
        if kind:
            self._catalogue.kind(kind)
        async with self._transaction() as uow:
            wallets = await uow.wallet_books.wallets.list_page(after, limit, kind, holder, filled=filled)
            return await views(uow, self._catalogue, wallets, self._clock.now())


class ListWalletLots:
    """Reads a page of lots."""

    def __init__(self, transaction: Transaction, catalogue: Catalogue) -> None:
        self._transaction = transaction
        self._catalogue = catalogue

    async def __call__(self, name: str, after: int, limit: int) -> list[Lot]:
        """Lots of a wallet behind a number, the oldest first; of a kind without lots there are none.

        Raises:
            WalletKindUnknown, WalletUnknown: There is none.
        """
        self._catalogue.kind_of(name)
        async with self._transaction() as uow:
            await uow.wallet_books.wallets.find([name])
            return await uow.wallet_books.wallets.list_lots(name, after, limit)


async def views(uow: UnitOfWork, catalogue: Catalogue, wallets: Sequence[Wallet], now: datetime) -> list[WalletView]:
    """Wallets with their figures, in the same order; two reads for all of them."""
    names = [wallet.name for wallet in wallets]
    accounts = await uow.accounts.find([catalogue.account_of(name) for name in names])
    lots = await uow.wallet_books.wallets.lots(names)
    return [
        _view(wallet, catalogue.kind(wallet.kind), accounts[catalogue.account_of(wallet.name)], lots[wallet.name], now)
        for wallet in wallets
    ]


def _view(wallet: Wallet, kind: WalletKind, account: Account, lots: Sequence[Lot], now: datetime) -> WalletView:
    free = account.balance_fen - account.held_fen + (account.overdraft_fen or 0)
    if kind.lots is not None:
        free = min(free, sum(lot.free_fen for lot in lots if lot.in_force(now)))
    available = max(free, 0) if wallet.state is WalletState.OPEN else 0
    return WalletView(
        wallet, kind, account.name, account.balance_fen, account.held_fen, available, account.balance_limit_fen
    )
