"""Disputes (争议) and adjustments by two persons (调账): claims, answers, reversing lines in open windows."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta

from libs.clock import CITY_TZ, Clock
from libs.errors import InvalidInput
from libs.records.batch import BatchRefused, FileType, decode_batch
from libs.records.dispute import Dispute, DisputeReason, DisputeRequest, decode_disputes
from libs.runtime.requests import RequestKey
from services.clearing.application.book import post
from services.clearing.application.ports import UnitOfWork
from services.clearing.application.settlement import participant_of
from services.clearing.application.settlement_rows import (
    CONTRA_ACCOUNTS,
    AdjustmentRow,
    Contra,
    DisputeRow,
    DisputeState,
    RequestState,
)
from services.clearing.application.terms import calendar_of
from services.clearing.domain.adjustment import PAYABLE, Adjustment, AdjustmentKind
from services.clearing.domain.errors import RecordUnknown
from services.clearing.domain.errors_settlement import (
    AdjustmentDecided,
    AdjustmentUnknown,
    AmountWrong,
    DisputeAnswered,
    DisputeFileInvalid,
    DisputeTooLate,
    DisputeUnknown,
    PeriodLocked,
    SamePerson,
    SuspenseOpen,
)
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import PostingLine

_FILE_WITHIN = timedelta(days=60)
_ANSWER_WORKING_DAYS = 10


class FileDisputes:
    """Files the claims of a DS file."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, participant: str, ds_file: bytes) -> Sequence[DisputeRow]:
        """All claims or none; a claim of the same number that was filed before is answered as it stands.

        Raises:
            ParticipantUnknown, DisputeFileInvalid, RecordUnknown, DisputeTooLate, PeriodLocked: In this order.
        """
        async with self._unit_of_work() as uow:
            found = await participant_of(uow, participant)
            claims = _read(ds_file, found)
            now = self._clock.now()
            today = now.astimezone(CITY_TZ).date()
            answer_on = (await calendar_of(uow, found, today)).working_day_after(today, _ANSWER_WORKING_DAYS)
            filed = []
            for claim in claims:
                stands = await uow.disputes.by_number(found.number, claim.dispute_number)
                if stands is None:
                    settled = await self._settled(uow, found, claim, today)
                    row = DisputeRow(
                        id=0, participant=participant, dispute_number=claim.dispute_number,
                        terminal_number=int(claim.terminal_number), terminal_seq=claim.terminal_seq,
                        reason=int(claim.reason), request=int(claim.request), claimed_fen=claim.claimed_fen,
                        settlement_date=settled, state=DisputeState.FILED, filed_at=now, answer_date=answer_on,
                    )  # fmt: skip
                    stands = await uow.disputes.add(found.number, row)
                filed.append(stands)
            await uow.commit()
        return filed

    async def _settled(self, uow: UnitOfWork, found: Participant, claim: Dispute, today: date) -> date | None:
        """The settlement date of the record in question, as we know it; a claimant's own word for it is not asked."""
        record = await uow.records.find(int(claim.terminal_number), claim.terminal_seq)
        name = f"records/{claim.terminal_number}-{claim.terminal_seq}"
        if record is None or record.participant != found.id:
            # A record that never came, or that was not taken, is what these reasons are for.
            if claim.reason in (DisputeReason.RECORD_MISSING, DisputeReason.REJECTED_WRONGLY, DisputeReason.GREY_CLAIM):
                return None
            raise RecordUnknown(record=name)
        day: date = record.settlement_date
        if today - day > _FILE_WITHIN:
            raise DisputeTooLate(record=name, settlement_date=day.isoformat())
        await must_be_unlocked(uow, day)
        return day


class AnswerDispute:
    """Answers a claim."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, dispute_id: int, upheld_fen: int, answer: str, request: RequestKey) -> DisputeRow:
        """Denied with 0, else upheld by an adjustment that another person must approve.

        Raises:
            DisputeUnknown, DisputeAnswered, SuspenseOpen, AmountWrong: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: DisputeRow = await uow.requests.first_answer(request, DisputeRow)
                return first
            found = await uow.disputes.find(dispute_id, lock=True)
            if found is None:
                raise DisputeUnknown(dispute=f"disputes/{dispute_id}")
            if found.state is not DisputeState.FILED:
                raise DisputeAnswered(dispute=found.name)
            adjustment_id = None
            if upheld_fen:
                if await uow.disputes.is_suspended(found.terminal_number, found.terminal_seq):
                    raise SuspenseOpen(record=found.record)
                if upheld_fen > found.claimed_fen:
                    raise AmountWrong(amount_fen=upheld_fen, limit_fen=found.claimed_fen)
                pays = found.request == DisputeRequest.PAY_ACQUIRER
                mine = await participant_of(uow, found.participant)
                row = AdjustmentRow(
                    id=0, participant=found.participant, amount_fen=upheld_fen if pays else -upheld_fen,
                    contra=Contra.LOSSES if pays else Contra.HOLDERS, kind=AdjustmentKind.DISPUTE,
                    original_date=found.settlement_date, reason=f"{found.name}: {answer}",
                    state=RequestState.PROPOSED, made_by=request.caller,
                )  # fmt: skip
                adjustment_id = (await uow.disputes.add_adjustment(mine.number, row, self._clock.now())).id
            state = DisputeState.UPHELD if upheld_fen else DisputeState.DENIED
            answered: DisputeRow = await uow.disputes.answer(found.id, state, answer, adjustment_id)
            await uow.requests.answer(request, answered)
            await uow.commit()
        return answered


class ProposeAdjustment:
    """Proposes an adjustment."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, wanted: AdjustmentRow, request: RequestKey) -> AdjustmentRow:
        """The proposal; nothing is posted.

        Raises:
            AmountWrong, ParticipantUnknown, PeriodLocked: In this order.
        """
        if not wanted.amount_fen:
            raise AmountWrong(amount_fen=0, limit_fen=0)
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: AdjustmentRow = await uow.requests.first_answer(request, AdjustmentRow)
                return first
            found = await participant_of(uow, wanted.participant)
            await must_be_unlocked(uow, wanted.original_date)
            made: AdjustmentRow = await uow.disputes.add_adjustment(found.number, wanted, self._clock.now())
            await uow.requests.answer(request, made)
            await uow.commit()
        return made


class DecideAdjustment:
    """Approves or refuses what another person proposed."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, adjustment_id: int, request: RequestKey, *, approve: bool) -> AdjustmentRow:
        """Approved, it is posted in the participant's open window, and a dispute that it answers is POSTED.

        Raises:
            AdjustmentUnknown, AdjustmentDecided, SamePerson, PeriodLocked: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: AdjustmentRow = await uow.requests.first_answer(request, AdjustmentRow)
                return first
            found: AdjustmentRow | None = await uow.disputes.find_adjustment(adjustment_id)
            if found is None:
                raise AdjustmentUnknown(adjustment=f"adjustments/{adjustment_id}")
            if found.state is not RequestState.PROPOSED:
                raise AdjustmentDecided(adjustment=found.name)
            if found.made_by == request.caller:
                raise SamePerson(person=request.caller)
            now, day = self._clock.now(), None
            if approve:
                await must_be_unlocked(uow, found.original_date)
                mine = await participant_of(uow, found.participant)
                accounts = (CONTRA_ACCOUNTS[found.contra], f"{PAYABLE}.{mine.id}")
                debit, credit = accounts if found.amount_fen > 0 else accounts[::-1]
                windows = await post(
                    uow, found.kind, found.name, [PostingLine(debit, credit, abs(found.amount_fen), 0)],
                    [Adjustment(mine.number, found.kind, found.amount_fen, found.name, found.original_date,
                                mine.institution_id)],
                    [mine], now,
                )  # fmt: skip
                day = windows[mine.number]
            else:
                await uow.missed.release(found.id)
            state = RequestState.POSTED if approve else RequestState.REFUSED
            decided: AdjustmentRow = await uow.disputes.decide(found.id, state, request.caller, now, day)
            await uow.requests.answer(request, decided)
            await uow.commit()
        return decided


class DisputeReads:
    """Claims and adjustments."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def disputes(self, participant: str | None, state: int, after: int, size: int) -> Sequence[DisputeRow]:
        """Claims by number; state 0 means all."""
        async with self._unit_of_work() as uow:
            found: list[DisputeRow] = await uow.disputes.page(participant, state, after, size)
        return found

    async def adjustments(self, participant: str | None, state: int, after: int, size: int) -> Sequence[AdjustmentRow]:
        """Adjustments by number; state 0 means all."""
        async with self._unit_of_work() as uow:
            found: list[AdjustmentRow] = await uow.disputes.adjustments(participant, state, after, size)
        return found


async def must_be_unlocked(uow: UnitOfWork, day: date | None) -> None:
    """Let pass what names a day that is not locked.

    Raises:
        PeriodLocked: It is.
    """
    lock = await uow.settlement.lock()
    if day is not None and lock is not None and day <= lock[0]:
        raise PeriodLocked(until=lock[0].isoformat())


def _read(ds_file: bytes, claimant: Participant) -> list[Dispute]:
    try:
        batch = decode_batch(ds_file, FileType.DS)
        claims = decode_disputes(batch.records)
    except BatchRefused as refused:
        raise DisputeFileInvalid(fault=str(refused.fault)) from refused
    except InvalidInput as wrong:
        raise DisputeFileInvalid(fault=str(wrong.facts.get("fault", wrong.reason))) from wrong
    if batch.header.sender != claimant.institution_id.rstrip("F"):
        raise DisputeFileInvalid(fault="SENDER")
    return claims
