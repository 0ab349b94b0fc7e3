"""SettlementService over gRPC: translate, call one use case, translate back."""

from dataclasses import dataclass

from citycard.clearing.v1 import settlement_service_pb2 as service
from citycard.clearing.v1.settlement_service_pb2_grpc import SettlementServiceServicer

from libs.runtime.identity import Context, Role, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.clearing.adapters.reading import bare, dated, day_of, scope
from services.clearing.application.messages import day, timestamp
from services.clearing.application.settlement import (
    Caps,
    ImportBankReturn,
    LockPeriod,
    MakeInstructions,
    SendInstructions,
    SetPaymentAccount,
    SettlementReads,
)
from services.clearing.application.settlement_rows import AlarmRow
from services.clearing.domain.settlement import Instruction, PaymentAccount


@dataclass(frozen=True, slots=True)
class SettlementUseCases:
    """Everything that the API calls."""

    set_account: SetPaymentAccount
    make: MakeInstructions
    send: SendInstructions
    take: ImportBankReturn
    caps: Caps
    lock: LockPeriod
    reads: SettlementReads


def account_to_pb(one: PaymentAccount) -> service.PaymentAccount:
    """One account."""
    return service.PaymentAccount(
        participant=f"participants/{one.participant}",
        bank=f"participants/{one.bank}",
        account=one.account,
        holder=one.holder,
    )


def instruction_to_pb(one: Instruction) -> service.Instruction:
    """One instruction."""
    return service.Instruction(
        name=f"instructions/{one.key}",
        participant=f"participants/{one.participant}",
        settlement_date=day(one.settlement_date),
        part=one.part,
        amount_fen=one.amount_fen,
        payout_date=day(one.payout_date),
        account=account_to_pb(one.account),
        state=service.InstructionState.ValueType(one.state),
        paid_fen=one.paid_fen,
        bank_note=one.bank_note,
        create_time=timestamp(one.created_at),
    )


def alarm_to_pb(one: AlarmRow) -> service.Alarm:
    """One alarm."""
    message = service.Alarm(
        name=f"alarms/{one.id}",
        kind=one.kind,
        participant=f"participants/{one.participant}",
        limit_fen=one.limit_fen,
        found_fen=one.found_fen,
        raise_time=timestamp(one.raised_at),
    )
    if one.ended_at is not None:
        message.end_time.CopyFrom(timestamp(one.ended_at))
    return message


class SettlementApi(SettlementServiceServicer):
    """The servicer."""

    def __init__(self, use_cases: SettlementUseCases) -> None:
        self._do = use_cases

    async def SetPaymentAccount(
        self, request: service.SetPaymentAccountRequest, context: Context
    ) -> service.PaymentAccount:
        wanted = request.account
        account = PaymentAccount(bare(wanted.participant), bare(wanted.bank), wanted.account, wanted.holder)
        return account_to_pb(await self._do.set_account(account))

    async def MakeInstructions(
        self, request: service.MakeInstructionsRequest, context: Context
    ) -> service.MakeInstructionsResponse:
        made = await self._do.make(*dated(request.name))
        return service.MakeInstructionsResponse(instructions=map(instruction_to_pb, made))

    async def ListInstructions(
        self, request: service.ListInstructionsRequest, context: Context
    ) -> service.ListInstructionsResponse:
        identity = caller(context)
        bank = bare(request.bank) or None
        if bank is not None:
            identity.must_own(bank)
        # A bank sees whatever is addressed to it, whoever is paid; everybody else sees its own.
        as_bank = bank is not None and identity.kind is Role.PARTICIPANT
        participant = (bare(request.participant) or None) if as_bank else scope(identity, request.participant)
        after = page_key("ListInstructions", request.page_token, (str,))
        size = page_size(request.page_size)
        page = await self._do.reads.instructions(participant, bank, request.state, str(after[0]) if after else "", size)
        token = page_token("ListInstructions", (page[-1].key,)) if len(page) == size else ""
        return service.ListInstructionsResponse(instructions=map(instruction_to_pb, page), next_page_token=token)

    async def SendInstructions(
        self, request: service.SendInstructionsRequest, context: Context
    ) -> service.InstructionFile:
        caller(context).must_own(bare(request.bank))
        made = await self._do.send(bare(request.bank), request_key(request, context))
        return service.InstructionFile(
            content=made.content,
            sha256=made.sha256,
            instruction_count=made.instruction_count,
            pay_fen=made.pay_fen,
            collect_fen=made.collect_fen,
        )

    async def ImportBankReturn(
        self, request: service.ImportBankReturnRequest, context: Context
    ) -> service.BankReturnResult:
        caller(context).must_own(bare(request.bank))
        made = await self._do.take(bare(request.bank), request.content)
        return service.BankReturnResult(
            taken_count=made.taken, known_count=made.known, unknown_count=made.unknown, sha256=made.sha256
        )

    async def MatchSettlement(
        self, request: service.MatchSettlementRequest, context: Context
    ) -> service.SettlementMatch:
        found = await self._do.reads.match(day_of("settlement_date", request.settlement_date))
        return service.SettlementMatch(
            statement_count=found.statement_count,
            net_fen=found.net_fen,
            instructed_fen=found.instructed_fen,
            paid_fen=found.paid_fen,
            breaks=[
                service.SettlementBreak(
                    kind=service.BreakKind.ValueType(one.kind),
                    participant=f"participants/{one.participant}",
                    reference=one.reference,
                    expected_fen=one.expected_fen,
                    found_fen=one.found_fen,
                )
                for one in found.breaks
            ],
        )

    async def SetNetDebitCap(self, request: service.SetNetDebitCapRequest, context: Context) -> service.NetDebitCap:
        await self._do.caps.set(bare(request.cap.participant), request.cap.cap_fen)
        return request.cap

    async def CheckCaps(self, request: service.CheckCapsRequest, context: Context) -> service.CheckCapsResponse:
        raised, ended = await self._do.caps.check()
        return service.CheckCapsResponse(raised_count=raised, ended_count=ended)

    async def ListAlarms(self, request: service.ListAlarmsRequest, context: Context) -> service.ListAlarmsResponse:
        after = page_key("ListAlarms", request.page_token, (int,))
        size = page_size(request.page_size)
        page = await self._do.reads.alarms(int(after[0] or 0) if after else 0, size, open_only=request.open_only)
        token = page_token("ListAlarms", (page[-1].id,)) if len(page) == size else ""
        return service.ListAlarmsResponse(alarms=map(alarm_to_pb, page), next_page_token=token)

    async def LockPeriod(self, request: service.LockPeriodRequest, context: Context) -> service.PeriodLock:
        until, who = await self._do.lock(day_of("until", request.until), caller(context).uri)
        return service.PeriodLock(until=day(until), locked_by=who)

    async def GetPeriodLock(self, request: service.GetPeriodLockRequest, context: Context) -> service.PeriodLock:
        found = await self._do.reads.lock()
        return service.PeriodLock(until=day(found[0]), locked_by=found[1]) if found else service.PeriodLock()
