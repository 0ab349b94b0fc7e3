"""Instructions, bank returns, the three-way match, caps and the period lock."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from libs.clock import CITY_TZ, Clock
from libs.runtime.logging import get_logger
from libs.runtime.requests import RequestKey
from services.clearing.application.book import send
from services.clearing.application.messages import window_name
from services.clearing.application.ports import UnitOfWork
from services.clearing.application.settlement_rows import AlarmRow, SentFile, TakenFile
from services.clearing.application.statement_forms import name_of
from services.clearing.domain.adjustment import PAYABLE
from services.clearing.domain.errors import ParticipantUnknown, StatementUnknown
from services.clearing.domain.errors_settlement import BankFileInvalid, PaymentAccountMissing, PeriodOpen
from services.clearing.domain.netting import orders
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import PostingLine
from services.clearing.domain.settlement import (
    SPECIAL_ACCOUNT,
    BankReturn,
    Break,
    Instruction,
    InstructionState,
    PaymentAccount,
    instruction_file,
    match,
    read_return_file,
)
from services.clearing.domain.statement import statement_lines

log = get_logger("citycard.clearing")
NET_DEBIT_CAP = "net_debit_cap"


@dataclass(frozen=True, slots=True)
class Match:
    """The three-way match of a day; amounts in fen."""

    statement_count: int
    net_fen: int
    instructed_fen: int
    paid_fen: int
    breaks: tuple[Break, ...]


class SetPaymentAccount:
    """Says where a participant is paid."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, account: PaymentAccount) -> PaymentAccount:
        """The newest counts; setting what stands changes nothing.

        Raises:
            ParticipantUnknown: The participant or the bank.
        """
        async with self._unit_of_work() as uow:
            found = [await participant_of(uow, name) for name in (account.participant, account.bank)]
            stands = await uow.settlement.account(found[0].number)
            if stands is None or stands[1] != account:
                await uow.settlement.add_account(found[0].number, found[1].number, account)
                await uow.commit()
        return account


class MakeInstructions:
    """Makes the instructions of a statement."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, participant: str, settlement_date: date) -> Sequence[Instruction]:
        """Those of the statement, made now or long ago.

        Raises:
            StatementUnknown, PaymentAccountMissing: In this order.
        """
        async with self._unit_of_work() as uow:
            statement = await uow.windows.statement(participant, settlement_date)
            if statement is None:
                raise StatementUnknown(statement=name_of(participant, settlement_date))
            found = await uow.participants.find(participant)
            model = await uow.signatures.model_on(found.number, settlement_date)
            wanted = orders(model, statement_lines(statement))
            stands = await uow.settlement.instructions_of(found.number, settlement_date)
            if wanted and not stands:
                where = await uow.settlement.account(found.number)
                if where is None:
                    raise PaymentAccountMissing(participant=participant)
                for one in wanted:
                    instruction = Instruction(
                        key=f"{participant}-{settlement_date:%Y%m%d}-{one.part}",
                        participant=participant,
                        settlement_date=settlement_date,
                        part=one.part,
                        amount_fen=one.amount_fen,
                        payout_date=statement.payout_date,
                        account=where[1],
                        state=InstructionState.CREATED,
                        paid_fen=0,
                        bank_note="",
                        created_at=self._clock.now(),
                    )
                    await uow.settlement.add_instruction(found.number, where[0], instruction)
                await uow.commit()
                stands = await uow.settlement.instructions_of(found.number, settlement_date)
        made: list[Instruction] = stands
        return made


class SendInstructions:
    """Hands a bank what it was not sent."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, bank: str, request: RequestKey) -> SentFile:
        """The file; a lost answer is asked for again with the same request, and is the same file.

        Raises:
            ParticipantUnknown: There is no such bank.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: SentFile = await uow.requests.first_answer(request, SentFile)
                return first
            found = await participant_of(uow, bank)
            unsent: list[Instruction] = await uow.settlement.unsent(found.number)
            content = instruction_file(unsent)
            for one in unsent:
                await uow.settlement.save(one.sent())
            opened = [(one.amount_fen > 0, abs(one.amount_fen) - one.paid_fen) for one in unsent]
            made = SentFile(
                content, hashlib.sha256(content).digest(), len(unsent), sum(fen for pay, fen in opened if pay),
                sum(fen for pay, fen in opened if not pay),
            )  # fmt: skip
            await uow.requests.answer(request, made)
            await uow.commit()
        return made


class ImportBankReturn:
    """Takes a bank's return file, whole or not at all."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, bank: str, content: bytes) -> TakenFile:
        """What became of it; a file that was taken before is answered as it was.

        Raises:
            ParticipantUnknown, BankFileInvalid: In this order.
        """
        sha256 = hashlib.sha256(content).digest()
        async with self._unit_of_work() as uow:
            found = await participant_of(uow, bank)
            await uow.settlement.lock_bank(found.number)
            stands: TakenFile | None = await uow.settlement.file(found.number, sha256)
            if stands is not None:
                return stands
            taken = known = unknown = 0
            for number, row in enumerate(read_return_file(content), 2):
                before = await uow.settlement.bank_return(found.number, row.bank_reference)
                if before is not None:
                    if before != row:
                        raise BankFileInvalid(row=number, fault="REFERENCE_REUSED")
                    known += 1
                    continue
                taken += 1
                unknown += not await self._take(uow, found, row, sha256)
            made = TakenFile(taken, known, unknown, sha256)
            await uow.settlement.add_file(found.number, made, content, self._clock.now())
            await uow.commit()
        return made

    async def _take(self, uow: UnitOfWork, bank: Participant, row: BankReturn, sha256: bytes) -> bool:
        """Keep a row and let it move its instruction; False when there is none at this bank."""
        instruction: Instruction | None = await uow.settlement.lock_instruction(row.key)
        mine = instruction is not None and instruction.account.bank == bank.id
        await uow.settlement.add_return(bank.number, row, sha256, known=mine)
        if not mine or instruction is None:
            return False
        await uow.settlement.save(instruction.returned(row))
        if row.paid:
            accounts = (f"{PAYABLE}.{instruction.participant}", SPECIAL_ACCOUNT)
            debit, credit = accounts if instruction.amount_fen > 0 else accounts[::-1]
            reference = f"bankReturns/{bank.id}-{row.bank_reference}"
            await send(uow, "payout", reference, [PostingLine(debit, credit, row.amount_fen, 0)], self._clock.now())
        return True


class SettlementReads:
    """Instructions, matches, alarms, lock."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def instructions(
        self, participant: str | None, bank: str | None, state: int, after: str, size: int
    ) -> Sequence[Instruction]:
        """Instructions by key; state 0 means all."""
        async with self._unit_of_work() as uow:
            found: list[Instruction] = await uow.settlement.page(participant, bank, state, after, size)
        return found

    async def match(self, settlement_date: date) -> Match:
        """Statements, instructions and bank returns of a day, and what does not match."""
        async with self._unit_of_work() as uow:
            statements = [one for _, one in await uow.signatures.statements_of(settlement_date)]
            instructions: list[Instruction] = await uow.settlement.instructions_on(settlement_date)
            unknown = await uow.settlement.unknown_returns(settlement_date)
        nets = {one.participant: one.totals.net_fen for one in statements}
        today = self._clock.now().astimezone(CITY_TZ).date()
        return Match(
            statement_count=len(statements),
            net_fen=sum(nets.values()),
            instructed_fen=sum(one.amount_fen for one in instructions),
            paid_fen=sum(one.paid_fen if one.amount_fen > 0 else -one.paid_fen for one in instructions),
            breaks=tuple(match(nets, instructions, unknown, today)),
        )

    async def alarms(self, after: int, size: int, *, open_only: bool) -> Sequence[AlarmRow]:
        """Alarms by number."""
        async with self._unit_of_work() as uow:
            found: list[AlarmRow] = await uow.settlement.alarms(after, size, open_only=open_only)
        return found

    async def lock(self) -> tuple[date, str] | None:
        """The period lock: last locked day, and who locked it."""
        async with self._unit_of_work() as uow:
            found: tuple[date, str] | None = await uow.settlement.lock()
        return found


class Caps:
    """Net debit caps and the alarms of those that owe more."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def set(self, participant: str, cap_fen: int) -> None:
        """Set a cap.

        Raises:
            ParticipantUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found = await participant_of(uow, participant)
            await uow.settlement.set_cap(found.number, cap_fen)
            await uow.commit()

    async def check(self) -> tuple[int, int]:
        """Raise alarms of those above their caps and end those that are not any more; how many of each."""
        raised = ended = 0
        async with self._unit_of_work() as uow:
            now = self._clock.now()
            for participant, name, cap_fen, balance_fen in await uow.settlement.exposures():
                owed = max(-balance_fen, 0)
                if owed > cap_fen:
                    new = await uow.settlement.raise_alarm(NET_DEBIT_CAP, participant, cap_fen, owed, now)
                    if new:
                        log.warning("clearing.net_debit_cap", participant=name, cap_fen=cap_fen, owed_fen=owed)
                    raised += new
                else:
                    ended += await uow.settlement.end_alarm(NET_DEBIT_CAP, participant, now)
            await uow.commit()
        return raised, ended


class LockPeriod:
    """Locks all days up to one."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, until: date, who: str) -> tuple[date, str]:
        """The lock that stands: this one, or a later one that stood before.

        Raises:
            PeriodOpen: A window with records in the period is not closed.
        """
        async with self._unit_of_work() as uow:
            stands = await uow.settlement.lock()
            if stands is not None and stands[0] >= until:
                found: tuple[date, str] = stands
                return found
            still = await uow.settlement.open_until(until)
            if still is not None:
                raise PeriodOpen(window=window_name(*still))
            await uow.settlement.add_lock(until, who, self._clock.now())
            await uow.commit()
        return until, who


async def participant_of(uow: UnitOfWork, name: str) -> Participant:
    """One participant.

    Raises:
        ParticipantUnknown: There is none.
    """
    found: Participant | None = await uow.participants.find(name)
    if found is None:
        raise ParticipantUnknown(participant=name)
    return found
