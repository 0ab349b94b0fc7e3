"""What is decided reaches the books: lines, adjustments in open windows, and the ledger's event, in one transaction."""

import uuid
from collections.abc import Sequence
from datetime import date, datetime

from citycard.clearing.v1 import events_pb2 as events

from services.clearing.application.messages import timestamp
from services.clearing.application.ports import UnitOfWork
from services.clearing.domain.adjustment import PAYABLE, Adjustment, BookPosting, check_balance
from services.clearing.domain.apportion import AUTHORITY
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import PostingLine
from services.clearing.domain.terms import Terms

RECEIVABLE_FROM_AUTHORITIES = "accounts/1224"


async def post(
    uow: UnitOfWork, event: str, reference: str, lines: Sequence[PostingLine], adjustments: Sequence[Adjustment],
    participants: Sequence[Participant], at: datetime,
) -> dict[int, date]:  # fmt: skip
    """Post lines of the book and the adjustments that they mean, in the caller's transaction; once per reference.

    Args:
        uow: The transaction.
        event: Word of the journal.
        reference: Resource name of what it is for.
        lines: At least one.
        adjustments: Of the participants' accounts: what the lines say of them, asserted (I6).
        participants: Everybody that an adjustment names.
        at: Now: decides the windows.

    Returns:
        The window of each participant (surrogate) that the adjustments fell into.
    """
    check_balance(lines, adjustments, {one.number: one.id for one in participants})
    windows: dict[int, date] = {}
    touched = {one.participant for one in adjustments}
    # By number, as posting does: two transactions take their windows in one order.
    for one in sorted(participants, key=lambda who: who.number):
        if one.number in touched:
            windows[one.number] = await uow.postings.open_window(one.number, one.settlement_date(at))
    posting = await send(uow, event, reference, lines, at)
    if adjustments:
        await uow.adjustments.add(posting, [(windows[one.participant], one) for one in adjustments])
    return windows


def subsidy_lines(participant: str, terms: Terms) -> list[PostingLine]:
    """Lines of the book of what authorities bear of a window's discounts: 1224 to 2203 (section 9)."""
    sums: dict[str, int] = {}
    for one in terms.fundings:
        if one.funder.startswith(AUTHORITY):
            name = one.funder.removeprefix(AUTHORITY)
            sums[name] = sums.get(name, 0) + one.amount_fen
    return [
        PostingLine(f"{RECEIVABLE_FROM_AUTHORITIES}.{name}", f"{PAYABLE}.{participant}", amount, 0)
        for name, amount in sorted(sums.items())
    ]


async def send(uow: UnitOfWork, event: str, reference: str, lines: Sequence[PostingLine], at: datetime) -> BookPosting:
    """Store lines of the book and tell the ledger; for what stands in a statement by itself, without an adjustment."""
    posting = BookPosting(uuid.uuid4(), event, reference, tuple(lines))
    await uow.adjustments.add_posting(posting, at)
    await uow.outbox.add(
        [
            events.BookPosted(
                posting_id=str(posting.id),
                event=event,
                reference=reference,
                lines=[
                    events.PostingLine(
                        debit_account=line.debit_account,
                        credit_account=line.credit_account,
                        amount_fen=line.amount_fen,
                        record_count=line.record_count,
                    )
                    for line in lines
                ],
                post_time=timestamp(at),
            )
        ]
    )
    return posting
