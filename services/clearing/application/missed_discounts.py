"""FindMissedDiscounts and ProposePayback: what terminals charged too much is found and paid back (F69, F143)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from libs.clock import Clock
from libs.records import otr
from libs.runtime.requests import RequestKey
from services.clearing.application.disputes import must_be_unlocked
from services.clearing.application.ports import Gateway, UnitOfWork
from services.clearing.application.replay import AUDITED_KINDS, parts_of
from services.clearing.application.settlement import participant_of
from services.clearing.application.settlement_rows import AdjustmentRow, Contra, RequestState
from services.clearing.domain.adjustment import AdjustmentKind
from services.clearing.domain.errors_settlement import NothingToPayBack
from services.clearing.domain.judgement import I64, PAID_CODES, rows_of
from services.clearing.domain.missed import Taps, find_missed


@dataclass(frozen=True, slots=True)
class MissedRow:
    """A discount that was missed; amounts in fen."""

    terminal_number: int
    terminal_seq: int
    before_terminal: int
    before_seq: int
    card: str
    rule_id: int
    paid_fen: int
    expected_fen: int
    adjustment_id: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found."""

    looked: int
    found: int
    found_fen: int


class FindMissedDiscounts:
    """Looks through all taps of a settlement date; the columns of a day are in memory, about 70 bytes a tap."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway
        self._clock = clock

    async def __call__(self, settlement_date: date) -> Found:
        """What was found and not known before.

        Raises:
            DependencyUnavailable: The gateway does not give an upload.
        """
        parts: list[otr.Records] = []
        owners: list[int] = []
        async with self._unit_of_work() as uow:
            packs = await uow.audits.packs()
            everybody = await uow.participants.all() if packs else []
            for one in everybody:
                async for part in parts_of(uow, self._gateway, one, settlement_date):
                    rides = np.isin(part.records["kind"], AUDITED_KINDS) & np.isin(part.codes, PAID_CODES)
                    parts.append(rows_of(part.records, np.flatnonzero(rides)))
                    owners.append(one.number)
            records = otr.read_records(b"".join(part.tobytes() for part in parts))
            lengths = [len(part) for part in parts]
            owner = np.repeat(np.array(owners, np.int64), lengths)
            taps = await asyncio.to_thread(_taps, records, owner)
            missed = await asyncio.to_thread(find_missed, taps, packs)
            terminals = otr.terminal_numbers(records).astype(np.int64)
            texts = otr.card_texts(rows_of(records, missed.rows))
            rows = [
                (
                    int(owner[row]),
                    MissedRow(
                        terminal_number=int(terminals[row]), terminal_seq=int(records["terminal_seq"][row]),
                        before_terminal=int(terminals[before]), before_seq=int(records["terminal_seq"][before]),
                        card=text.decode(), rule_id=int(rule), paid_fen=int(records["amount_fen"][row]),
                        expected_fen=int(expected),
                    ),
                )
                for row, before, text, rule, expected in zip(
                    missed.rows, missed.before, texts, missed.rule_id, missed.expected_fen, strict=True
                )
            ]  # fmt: skip
            added: list[MissedRow] = await uow.missed.add(settlement_date, rows, self._clock.now())
            await uow.commit()
        return Found(len(records), len(added), sum(one.paid_fen - one.expected_fen for one in added))


class ProposePayback:
    """Proposes to pay back what was found."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, participant: str, settlement_date: date, request: RequestKey) -> AdjustmentRow:
        """One adjustment for all that is not proposed yet; a refused one frees its discounts again.

        Raises:
            ParticipantUnknown, PeriodLocked, NothingToPayBack: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: AdjustmentRow = await uow.requests.first_answer(request, AdjustmentRow)
                return first
            found = await participant_of(uow, participant)
            await must_be_unlocked(uow, settlement_date)
            due: list[MissedRow] = await uow.missed.unpaid(found.number, settlement_date)
            if not due:
                raise NothingToPayBack(participant=participant, settlement_date=settlement_date.isoformat())
            wanted = AdjustmentRow(
                id=0, participant=participant, amount_fen=-sum(one.paid_fen - one.expected_fen for one in due),
                contra=Contra.HOLDERS, kind=AdjustmentKind.PAYBACK, original_date=settlement_date,
                reason=f"{len(due)} missed transfer discounts", state=RequestState.PROPOSED, made_by=request.caller,
            )  # fmt: skip
            made: AdjustmentRow = await uow.disputes.add_adjustment(found.number, wanted, self._clock.now())
            await uow.missed.propose(found.number, settlement_date, made.id)
            await uow.requests.answer(request, made)
            await uow.commit()
        return made


class MissedReads:
    """Reads of missed discounts."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def page(
        self, participant: str, settlement_date: date, after: tuple[int, int] | None, size: int
    ) -> Sequence[MissedRow]:
        """Of a participant and day, by record.

        Raises:
            ParticipantUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found = await participant_of(uow, participant)
            page: list[MissedRow] = await uow.missed.page(found.number, settlement_date, after, size)
        return page


def _taps(records: otr.Records, owner: I64) -> Taps:
    _, card = np.unique(otr.card_keys(records), return_inverse=True)
    line = records["line"].astype(np.int64)
    return Taps(
        card=card.astype(np.int64),
        time_s=otr.times_epoch_s(records),
        mode=records["industry"].astype(np.int64),
        line=(line[:, 0] << 16) | (line[:, 1] << 8) | line[:, 2],
        main_type=records["card_main_type"].astype(np.int64),
        list_price_fen=records["list_price_fen"].astype(np.int64),
        paid_fen=records["amount_fen"].astype(np.int64),
        marked=(records["flags"] & otr.Flag.TRANSFER_DISCOUNT) != 0,
        participant=owner,
    )
