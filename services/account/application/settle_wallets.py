"""What the end of a reservation means to the wallets behind it."""

from services.account.application.ports import UnitOfWork
from services.account.domain.book import Posting
from services.account.domain.chart import Side
from services.account.domain.reservation import Reservation
from services.account.domain.wallet_debits import lot_changes


async def settle_wallets(uow: UnitOfWork, reservation: Reservation, posted: Posting | None = None) -> None:
    """Turn what a debit of wallets holds into what it took, or give it up; its accounts are locked.

    Args:
        uow: The transaction that ends the reservation.
        reservation: As it ended. One without a purpose debits no wallet.
        posted: What of it was posted; None: nothing.
    """
    if not reservation.posting.purpose:
        return
    books = uow.wallet_books
    held = await books.debits.get(reservation.id)
    if posted is None or reservation.journal is None:
        ended = held.given_up()
    else:
        amounts: dict[str, int] = {}
        for leg in posted.legs:
            if leg.side is Side.DEBIT:
                amounts[leg.account] = amounts.get(leg.account, 0) + leg.amount_fen
        ended = held.posted(reservation.journal, amounts)
    await books.debits.save(ended)
    await books.wallets.change_lots(lot_changes(held, ended))
