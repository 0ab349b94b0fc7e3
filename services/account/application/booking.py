"""How legs reach the books: the one path that every journal and reservation takes, with its order of locks."""

from datetime import datetime

from services.account.application.ports import UnitOfWork
from services.account.domain.accounts import changes_of, check_limits
from services.account.domain.book import Posting, purse_changes
from services.account.domain.chart import Chart


async def book(
    uow: UnitOfWork,
    chart: Chart,
    posting: Posting,
    now: datetime,
    *,
    posted: int = 0,
    pending: int = 0,
    limited: bool = False,
) -> None:
    """Add legs to their purses, then to their accounts.

    Args:
        uow: The transaction; purses are locked first, accounts second, each in order, so that no two wait in a circle.
        chart: Which events are loads.
        posting: Checked before.
        now: When accounts are opened that have no row yet.
        posted: 1 when the legs are posted, else 0.
        pending: 1 when they become pending, -1 when they cease to be, else 0.
        limited: Whether limits are obeyed. What has happened already (a batch, a held amount) is never refused.

    Raises:
        PurseUnknown: A purse does not exist.
        LimitExceeded: A limit does not cover what is added.
    """
    purses = purse_changes(chart, posting.event, posting.legs, posted=posted, pending=pending)
    if purses:
        await uow.purses.lock([change.key for change in purses])
        await uow.purses.change(purses)
    changes = changes_of(posting.legs, posted=posted, pending=pending)
    accounts = await uow.accounts.lock([change.name for change in changes], now)
    if limited:
        check_limits(accounts, changes)
    await uow.accounts.change(changes)
