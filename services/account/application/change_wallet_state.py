"""Freezes, unfreezes and closes wallets."""

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.ports import Transaction
from services.account.domain.wallet_errors import WalletNotEmpty
from services.account.domain.wallets import Catalogue, Wallet, WalletState


class ChangeWalletState:
    """FreezeWallet, UnfreezeWallet, CloseWallet: three words for one step."""

    def __init__(self, transaction: Transaction, catalogue: Catalogue, clock: Clock) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._clock = clock

    async def __call__(self, name: str, state: WalletState, request: RequestKey) -> Wallet:
        """Bring a wallet to a state; one that is in it already is answered as it is.

        A frozen wallet still takes what comes, and what it holds for others is still posted or given up.

        Raises:
            WalletKindUnknown, WalletUnknown, WalletStateForbids (closed is for ever), WalletNotEmpty: First match wins.
            RequestIdReused: The id was used for other content.
        """
        account_name = self._catalogue.account_of(name)
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Wallet)
            wallets = uow.wallet_books.wallets
            await wallets.find([name])
            account = (await uow.accounts.lock([account_name], self._clock.now()))[account_name]
            wallet = (await wallets.find([name]))[name]
            moved = wallet.moved(state, account_name)
            if moved is not wallet:
                held = account.pending_debits_fen + account.pending_credits_fen
                if state is WalletState.CLOSED and (account.balance_fen or held):
                    raise WalletNotEmpty(
                        wallet=name, account=account_name, balance_fen=account.balance_fen, held_fen=held
                    )
                await wallets.save(moved)
            await uow.requests.answer(request, moved)
            await uow.commit()
        return moved
