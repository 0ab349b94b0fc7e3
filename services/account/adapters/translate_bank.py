"""Between the messages of the bank contract and the domain."""

import re
from collections.abc import Iterable
from datetime import date, datetime, time
from uuid import UUID

from citycard.account.v1 import bank_service_pb2 as pb
from citycard.common.v1.types_pb2 import Date
from citycard.participant.v1 import bank_adapter_service_pb2 as adapter_pb
from google.protobuf.duration_pb2 import Duration

from libs.errors import RequestMalformed
from services.account.adapters.translate import account_name, purse_key, timestamp
from services.account.domain.bank import Bank
from services.account.domain.bank_break import BankBreak, BreakKind, FileMatch
from services.account.domain.bank_errors import BankFlowUnknown
from services.account.domain.bank_flow import BankFlow, FlowKind, FlowState
from services.account.domain.bank_leg import BankAnswer, BankLeg, BankState
from services.account.domain.bank_order import BankAccount, FlowOrder
from services.account.domain.chart import chart_number_of

_BANK_NAME = re.compile(r"banks/[a-z0-9][a-z0-9-]{0,58}")
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")
_CUT_OFF = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]")
_CURRENCY = re.compile(r"[A-Z]{3}")
# Seconds; a call that waits longer than a caller does helps nobody, and a flow that asks for days is none.
_CALL_TIMEOUT_S_MAX = 60.0
_PATIENCE_S_MAX = 86_400.0
_CALL_TIMEOUT_S = 5.0
_PATIENCE_S = 30.0


def bank_id(name: str) -> str:
    """`banks/icbc` without its collection."""
    return name.removeprefix("banks/")


def day(message: Date, field: str) -> date:
    """A day of the contract.

    Raises:
        RequestMalformed: There is no such day.
    """
    try:
        return date(message.year, message.month, message.day)
    except ValueError:
        raise RequestMalformed(field=field, description="is no day") from None


def day_to_pb(at: date) -> Date:
    """A day as the contract writes it."""
    return Date(year=at.year, month=at.month, day=at.day)


def bank(message: pb.Bank) -> Bank:
    """What is to be registered.

    Raises:
        RequestMalformed: Naming the first field that is no such thing.
    """
    for field, value, form in (
        ("bank.name", message.name, _BANK_NAME),
        ("bank.address", message.address, _ADDRESS),
        ("bank.cut_off_time", message.cut_off_time or "22:00:00", _CUT_OFF),
        ("bank.currency", message.currency or "CNY", _CURRENCY),
    ):
        if form.fullmatch(value) is None:
            raise RequestMalformed(field=field, description=f"must match {form.pattern}")
    for field, limit in (
        ("bank.operation_limit_fen", message.operation_limit_fen),
        ("bank.day_limit_fen", message.day_limit_fen),
    ):
        if limit < 0:
            raise RequestMalformed(field=field, description="must not be below 0")
    if len(message.settlement_account) > 64:
        raise RequestMalformed(field="bank.settlement_account", description="must have 64 characters at most")
    return Bank(
        participant=bank_id(message.name),
        address=message.address,
        settlement_account=message.settlement_account,
        currency=message.currency or "CNY",
        operation_limit_fen=message.operation_limit_fen,
        day_limit_fen=message.day_limit_fen,
        cut_off=time.fromisoformat(message.cut_off_time or "22:00:00"),
        holidays=_days(message.holidays, "bank.holidays"),
        make_up_days=_days(message.make_up_days, "bank.make_up_days"),
        works_weekends=message.works_weekends,
        call_timeout_s=_seconds(message.call_timeout, _CALL_TIMEOUT_S, _CALL_TIMEOUT_S_MAX, "bank.call_timeout"),
        patience_s=_seconds(message.patience, _PATIENCE_S, _PATIENCE_S_MAX, "bank.patience"),
        suspended=message.suspended,
    )


def _days(messages: Iterable[Date], field: str) -> frozenset[date]:
    days = frozenset(day(message, field) for message in messages)
    if len(days) > 366:
        raise RequestMalformed(field=field, description="must have 366 days at most")
    return days


def _seconds(message: Duration, default: float, most: float, field: str) -> float:
    seconds = message.seconds + message.nanos / 1e9
    if not seconds:
        return default
    if not 0.05 <= seconds <= most:
        raise RequestMalformed(field=field, description=f"must be 0.05 to {most:g} seconds")
    return seconds


def bank_to_pb(found: Bank) -> pb.Bank:
    """A bank."""
    return pb.Bank(
        name=f"banks/{found.participant}",
        address=found.address,
        settlement_account=found.settlement_account,
        currency=found.currency,
        operation_limit_fen=found.operation_limit_fen,
        day_limit_fen=found.day_limit_fen,
        cut_off_time=found.cut_off.isoformat(),
        holidays=[day_to_pb(at) for at in sorted(found.holidays)],
        make_up_days=[day_to_pb(at) for at in sorted(found.make_up_days)],
        works_weekends=found.works_weekends,
        call_timeout=_duration(found.call_timeout_s),
        patience=_duration(found.patience_s),
        suspended=found.suspended,
    )


def _duration(seconds: float) -> Duration:
    written = Duration()
    written.FromNanoseconds(int(seconds * 1e9))
    return written


def _account(message: pb.BankAccount) -> BankAccount:
    return BankAccount(bank_id(message.bank), message.account_token)


def load(request: pb.LoadFromBankRequest) -> FlowOrder:
    """圈存."""
    source = (_account(request.source),)
    if request.WhichOneof("target") == "purse":
        return FlowOrder(FlowKind.LOAD, request.amount_fen, source, purse=purse_key(request.purse))
    return FlowOrder(FlowKind.LOAD, request.amount_fen, source, account_name(request.account))


def unload(request: pb.UnloadToBankRequest) -> FlowOrder:
    """圈提."""
    target = (_account(request.target),)
    return FlowOrder(FlowKind.UNLOAD, request.amount_fen, target, account_name(request.account))


def purchase(request: pb.PurchaseFromBankRequest) -> FlowOrder:
    """消费."""
    payable = f"2203.{request.merchant.removeprefix('participants/')}"
    return FlowOrder(FlowKind.PURCHASE, request.amount_fen, (_account(request.source),), payable)


def cash(request: pb.WithdrawCashRequest) -> FlowOrder:
    """取现."""
    receivable = f"1221.{request.outlet.removeprefix('outlets/')}"
    return FlowOrder(FlowKind.CASH_WITHDRAWAL, request.amount_fen, (_account(request.source),), receivable)


def transfer(request: pb.TransferBetweenBanksRequest) -> FlowOrder:
    """转账."""
    both = (_account(request.source), _account(request.target))
    return FlowOrder(FlowKind.TRANSFER, request.amount_fen, both)


def flow_id(name: str) -> UUID:
    """The id in `bankFlows/{uuid}`.

    Raises:
        BankFlowUnknown: No UUID, so nothing has that name.
    """
    text = name.removeprefix("bankFlows/")
    try:
        return UUID(text)
    except ValueError:
        raise BankFlowUnknown(flow=text) from None


def flow_state(state: int) -> FlowState | None:
    """The state of a filter; None for all."""
    name = pb.BankFlowState.Name(pb.BankFlowState.ValueType(state)).removeprefix("BANK_FLOW_STATE_")
    return FlowState(name) if state else None


def break_kind(kind: int) -> BreakKind | None:
    """The kind of a filter; None for all."""
    name = pb.BankBreakKind.Name(pb.BankBreakKind.ValueType(kind)).removeprefix("BANK_BREAK_KIND_")
    return BreakKind(name) if kind else None


def account_of(flow: BankFlow) -> str:
    """The other side of a flow in the books; empty for a transfer."""
    others = [leg.account for leg in flow.posting.legs[len(flow.legs) :]]
    return others[0] if others else ""


def flow_to_pb(flow: BankFlow) -> pb.BankFlow:
    """A flow; account tokens stay inside."""
    account = account_of(flow)
    return pb.BankFlow(
        name=f"bankFlows/{flow.id}",
        kind=pb.BankFlowKind.Value(f"BANK_FLOW_KIND_{flow.kind.value}"),
        state=pb.BankFlowState.Value(f"BANK_FLOW_STATE_{flow.state.value}"),
        amount_fen=flow.amount_fen,
        account=f"accounts/{account}" if account else "",
        purse=f"purses/{flow.purse.name}" if flow.purse else "",
        legs=[_leg_to_pb(leg) for leg in flow.legs],
        refusal=flow.refusal,
        reservation=f"reservations/{flow.id}",
        journal=f"journals/{flow.journal}" if flow.journal else "",
        undo_journal=f"journals/{flow.undo_journal}" if flow.undo_journal else "",
        create_time=timestamp(flow.create_time),
        deadline=timestamp(flow.deadline),
        next_time=timestamp(flow.next_time),
    )


def _leg_to_pb(leg: BankLeg) -> pb.BankLeg:
    return pb.BankLeg(
        bank=f"banks/{leg.bank}",
        direction=adapter_pb.BankDirection.Value(f"BANK_DIRECTION_{leg.direction.value}"),
        operation_id=str(leg.operation),
        amount_fen=leg.amount_fen,
        business_date=day_to_pb(leg.business_date),
        state=pb.BankLegState.Value(f"BANK_LEG_STATE_{leg.state.value}"),
        in_doubt=leg.doubt,
        attempt_count=leg.attempts,
        reference=leg.reference,
        refusal=leg.refusal,
    )


def bank_answer(message: adapter_pb.BankOperation) -> BankAnswer:
    """What a bank says by itself.

    Raises:
        RequestMalformed: It says that it does not know of what it speaks.
    """
    state = BankState(adapter_pb.BankOperationState.Name(message.state).removeprefix("BANK_OPERATION_STATE_"))
    if state is BankState.UNKNOWN:
        raise RequestMalformed(field="operation.state", description="must not be UNKNOWN")
    return BankAnswer(state, message.amount_fen, message.reference, message.refusal)


def match_to_pb(match: FileMatch) -> pb.BankFile:
    """An imported file, and how it matches."""
    return pb.BankFile(
        bank=f"banks/{match.bank}",
        business_date=day_to_pb(match.business_date),
        revision=match.revision,
        digest=match.digest,
        line_count=match.line_count,
        debit_total_fen=match.debit_total_fen,
        credit_total_fen=match.credit_total_fen,
        matched_count=match.matched_count,
        differing_count=match.differing_count,
        only_bank_count=match.only_bank_count,
        only_ours_count=match.only_ours_count,
        repeated=match.repeated,
    )


def break_to_pb(found: BankBreak, now: datetime) -> pb.BankBreak:
    """A break, with its age."""
    outcome = found.outcome.value if found.outcome else "UNSPECIFIED"
    return pb.BankBreak(
        name=f"bankBreaks/{found.id}",
        bank=f"banks/{found.bank}",
        business_date=day_to_pb(found.business_date),
        operation_id=str(found.operation),
        flow=f"bankFlows/{found.flow}" if found.flow else "",
        kind=pb.BankBreakKind.Value(f"BANK_BREAK_KIND_{found.kind.value}"),
        our_amount_fen=found.our_amount_fen,
        bank_amount_fen=found.bank_amount_fen,
        our_state=found.our_state,
        bank_state=found.bank_state,
        owner=found.owner,
        open_time=timestamp(found.open_time),
        close_time=timestamp(found.close_time),
        age=_duration(found.age(now).total_seconds()),
        outcome=pb.BankBreakOutcome.Value(f"BANK_BREAK_OUTCOME_{outcome}"),
        note=found.note,
    )


def touches(flow: BankFlow, participant: str) -> bool:
    """Whether a flow is a participant's business: as a bank, or as the merchant that is paid."""
    account = account_of(flow)
    is_merchant = chart_number_of(account) == "2203" and account.endswith(f".{participant}")
    return is_merchant or any(leg.bank == participant for leg in flow.legs)
