"""Opens wallets."""

from datetime import datetime

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.ports import Transaction, UnitOfWork
from services.account.domain.wallet_control import WalletControl
from services.account.domain.wallet_errors import WalletAccountUsed, WalletUnknown, WalletUseForbidden
from services.account.domain.wallets import Catalogue, Wallet, WalletKind, WalletState, check_holder


class OpenWallet:
    """Opens a wallet of a kind for a holder."""

    def __init__(self, transaction: Transaction, catalogue: Catalogue, clock: Clock) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._clock = clock

    async def __call__(self, kind_code: str, holder: str, balance_limit_fen: int, request: RequestKey) -> Wallet:
        """Open it; one that is open already is answered as it is, with the new limit.

        Args:
            kind_code: Of the catalogue.
            holder: `jt-{20 digits}-{generation}`, `p-{person}`, or a participant.
            balance_limit_fen: Most that it may hold; 0: no limit.
            request: Claimed in the same transaction.

        Raises:
            WalletKindUnknown, HolderMismatch, WalletUseForbidden (a purse opens with its card), WalletStateForbids (it
                is closed), WalletAccountUsed: First match wins.
            RequestIdReused: The id was used for other content.
        """
        kind = self._catalogue.kind(kind_code)
        check_holder(kind, holder)
        if not kind.sources:
            raise WalletUseForbidden(wallet=f"{kind.code}.{holder}", account=kind.number, kind=kind.code, use="open")
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Wallet)
            now = self._clock.now()
            account = kind.account(holder)
            await uow.accounts.lock([account], now)
            wallet = await ensure_wallet(uow, kind, holder, now)
            wallet.check_may_take(account)
            locked = (await uow.accounts.lock([account], now))[account]
            await uow.accounts.set_limits(account, balance_limit_fen, locked.overdraft_fen or 0)
            await uow.requests.answer(request, wallet)
            await uow.commit()
        return wallet


async def ensure_wallet(uow: UnitOfWork, kind: WalletKind, holder: str, now: datetime) -> Wallet:
    """The wallet of a holder, opened when there is none; its account is locked.

    Raises:
        WalletAccountUsed: It would count its parts, and the account moved before there were any.
    """
    name, account = f"{kind.code}.{holder}", kind.account(holder)
    try:
        return (await uow.wallet_books.wallets.find([name]))[name]
    except WalletUnknown:
        wallet = Wallet(kind.code, holder, WalletState.OPEN, now)
    found = (await uow.accounts.lock([account], now))[account]
    moved = found.debits_fen or found.credits_fen or found.pending_debits_fen or found.pending_credits_fen
    if kind.control is WalletControl.ALL and moved:
        raise WalletAccountUsed(wallet=name, account=account)
    added = await uow.wallet_books.wallets.add(wallet, account, kind.control)
    assert added, "whoever opens a wallet holds the lock of its account"
    # Whatever the chart says of the number: nothing is taken out of a wallet that is not in it.
    await uow.accounts.set_limits(account, found.balance_limit_fen, found.overdraft_fen or 0)
    return wallet
