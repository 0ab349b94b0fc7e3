"""What a judged set leaves open: suspense items, memoranda, and the rests of late records, in the set's transaction."""

from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from libs.records import bcd, otr
from services.clearing.application.ports import UnitOfWork
from services.clearing.application.suspense_rows import NewItems
from services.clearing.domain.judgement import I64, PAID_CODES, Judgement, Known, rows_of
from services.clearing.domain.late import late_cards, uncovered
from services.clearing.domain.suspense import MEMORANDUM_CODES

_EPOCH = date(1970, 1, 1)


async def suspend(
    uow: UnitOfWork, records: otr.Records, digests: npt.NDArray[np.void], known: Known, judgement: Judgement,
    file_ids: I64, file_indexes: I64, participants: I64, settlement_day: I64, at: datetime, *, first: bool,
) -> I64 | None:  # fmt: skip
    """Open what nobody is paid for, and close the memoranda of what was decided; the caller commits.

    Args:
        uow: The transaction; the records of the set are stored already.
        records: (n,) OTR of the set, in the order of taking.
        digests: (n,) V16.
        known: What they were judged by.
        judgement: Their verdicts.
        file_ids: (n,) file of each.
        file_indexes: (n,) place in it.
        participants: (n,) surrogate of the participant that it counts for.
        settlement_day: (n,) days since 1970.
        at: Now.
        first: Whether these are first verdicts.

    Returns:
        (n,) what is not paid of late records, in fen; None when there are none.
    """
    amounts = records["amount_fen"].astype(np.int64)
    rest = await _rest(uow, records, known, judgement, amounts, file_ids, file_indexes)
    debited = judgement.takes & ~np.isin(judgement.codes, PAID_CODES)
    open_fen = amounts
    if rest is not None:
        open_fen = np.where(rest > 0, rest, amounts)
        debited = debited | (rest > 0)
    memoranda = judgement.waits & np.isin(judgement.codes, MEMORANDUM_CODES)
    rows = np.flatnonzero((debited | memoranda) & (open_fen > 0))
    if len(rows):
        some = rows_of(records, rows)
        days = [_EPOCH + timedelta(days=int(day)) for day in settlement_day[rows]]
        await uow.suspense.open_items(
            NewItems(
                digest=digests[rows],
                participant=participants[rows],
                settlement_day=[day if taken else None for day, taken in zip(days, debited[rows], strict=True)],
                code=judgement.codes[rows].astype(np.int64),
                debited=debited[rows],
                amount_fen=open_fen[rows],
                issuer=[text.decode().upper() for text in bcd.hex_texts(some["issuer"])],
                jt=some["card_class"] == 0x07,
                card_number=[number.tobytes() for number in some["card_number"]],
                terminal_number=otr.terminal_numbers(some).astype(np.int64),
                terminal_seq=some["terminal_seq"].astype(np.int64),
                file_id=file_ids[rows],
                file_index=file_indexes[rows],
            ),
            at,
        )
    if not first:
        final = np.flatnonzero(~debited & ~np.isin(judgement.codes, MEMORANDUM_CODES))
        paid = judgement.takes & np.isin(judgement.codes, PAID_CODES)
        await uow.suspense.settle_memoranda(
            {
                digests[row].tobytes(): (
                    int(judgement.codes[row]),
                    _EPOCH + timedelta(days=int(settlement_day[row])) if paid[row] else None,
                    int(amounts[row]) if paid[row] else 0,
                )
                for row in final
            },
            at,
        )
    return rest


async def _rest(
    uow: UnitOfWork, records: otr.Records, known: Known, judgement: Judgement, amounts: I64, file_ids: I64,
    file_indexes: I64,
) -> I64 | None:  # fmt: skip
    cards = late_cards(known.card, judgement)
    if not len(cards):
        return None
    ledger, told = await uow.suspense.ledgers(cards)
    rest = uncovered(known.card, amounts, judgement, cards, ledger, told)
    rows = np.flatnonzero(rest)
    if len(rows):
        some = rows_of(records, rows)
        await uow.suspense.add_rests(
            otr.terminal_numbers(some).astype(np.int64), some["terminal_seq"].astype(np.int64), file_ids[rows],
            file_indexes[rows], rest[rows],
        )  # fmt: skip
    return rest
