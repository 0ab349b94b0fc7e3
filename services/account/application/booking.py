"""How legs reach the books: the one path that every journal and reservation takes, with its order of locks."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from services.account.application.ports import UnitOfWork
from services.account.domain.accounts import Account, AccountChange, add_up, changes_of, check_limits, check_not_wallets
from services.account.domain.book import Posting, purse_changes
from services.account.domain.chart import Chart
from services.account.domain.errors import PurseUnknown
from services.account.domain.purse import PurseChange, PurseKey, add_up_purses


async def book(
    uow: UnitOfWork,
    chart: Chart,
    now: datetime,
    *,
    posted: Posting | None = None,
    held: Posting | None = None,
    released: Posting | None = None,
    limited: bool = False,
    by_wallets: bool = False,
    corrects: bool = False,
) -> dict[str, Account]:
    """Add legs to their purses, then to their accounts.

    Args:
        uow: The transaction; purses are locked first, accounts second, each in order, so that no two wait in a circle.
        chart: Which events are loads.
        now: When accounts are opened that have no row yet.
        posted: What becomes posted, checked before.
        held: What becomes pending.
        released: What ceases to be pending.
        limited: Whether floors and limits are obeyed. What has happened already (a batch, a held amount) is never
            refused.
        by_wallets: Whether the call looked at grants and lots itself; all others keep their hands off wallets.
        corrects: Whether what an administrator posted is taken back, which a wallet without lots may give.

    Returns:
        The accounts after it.

    Raises:
        PurseUnknown: A purse does not exist.
        WalletControlled: An account is a wallet, and the call is none about wallets.
        InsufficientBalance: A floored account does not cover what is taken.
        LimitExceeded: A limit does not cover what is added.
    """
    purses = purse_effects(chart, posted=posted, held=held, released=released)
    if purses:
        require(await uow.purses.lock([change.key for change in purses]), [change.key for change in purses])
        await uow.purses.change(purses)
    changes = account_effects(posted=posted, held=held, released=released)
    accounts = await uow.accounts.lock([change.name for change in changes], now)
    if limited and not by_wallets:
        check_not_wallets(accounts, changes, corrects=corrects)
    if limited:
        check_limits(accounts, changes)
    await uow.accounts.change(changes)
    return {change.name: accounts[change.name].changed(change) for change in changes}


def account_effects(
    *, posted: Posting | None = None, held: Posting | None = None, released: Posting | None = None
) -> list[AccountChange]:
    """What postings do to their accounts, one change per account, in the order of names."""
    return add_up(
        change
        for posting, is_posted, is_pending in ((posted, 1, 0), (held, 0, 1), (released, 0, -1))
        if posting is not None
        for change in changes_of(posting.legs, posted=is_posted, pending=is_pending)
    )


def purse_effects(
    chart: Chart, *, posted: Posting | None = None, held: Posting | None = None, released: Posting | None = None
) -> list[PurseChange]:
    """What postings do to their purses, one change per purse, in the order in which purses are locked."""
    return add_up_purses(
        change
        for posting, is_posted, is_pending in ((posted, 1, 0), (held, 0, 1), (released, 0, -1))
        if posting is not None
        for change in purse_changes(chart, posting, posted=is_posted, pending=is_pending)
    )


def require(known: set[PurseKey], wanted: Iterable[PurseKey]) -> None:
    """Let pass what exists.

    Raises:
        PurseUnknown: Naming the first purse that does not.
    """
    for key in wanted:
        if key not in known:
            raise PurseUnknown(purse=key.name)


def sums_after(posting: Posting, accounts: Mapping[str, Account]) -> dict[str, tuple[int, int]]:
    """Debits and credits of every account of a posting, as they stand after it."""
    names: Sequence[str] = [leg.account for leg in posting.legs]
    return {name: (accounts[name].debits_fen, accounts[name].credits_fen) for name in names}


async def compare_purses(uow: UnitOfWork, posting: Posting, clock_tolerance_s: float, now: datetime) -> None:
    """Compare book and card of the purses of a reservation that ended: while it was in doubt nobody could."""
    keys = posting.purses
    if keys:
        await uow.purses.compare(await uow.purses.ids(keys), clock_tolerance_s, now)
