"""Instructions, bank returns, the three-way match, caps, disputes and adjustments against a real database."""

from datetime import UTC, date, datetime, timedelta

import pytest

from libs.records.batch import FileType, encode_batch
from libs.records.dispute import Dispute, DisputeReason, DisputeRequest, encode_disputes
from services.clearing.application.disputes import (
    AnswerDispute,
    DecideAdjustment,
    DisputeReads,
    FileDisputes,
    ProposeAdjustment,
)
from services.clearing.application.settlement import (
    Caps,
    ImportBankReturn,
    LockPeriod,
    MakeInstructions,
    SendInstructions,
    SetPaymentAccount,
    SettlementReads,
)
from services.clearing.application.settlement_rows import AdjustmentRow, Contra, DisputeState, RequestState
from services.clearing.application.statement_forms import SettlementModels
from services.clearing.domain.adjustment import AdjustmentKind
from services.clearing.domain.errors import RecordUnknown
from services.clearing.domain.errors_settlement import (
    AdjustmentDecided,
    AmountWrong,
    BankFileInvalid,
    DisputeAnswered,
    DisputeFileInvalid,
    DisputeTooLate,
    PaymentAccountMissing,
    PeriodLocked,
    PeriodOpen,
    SamePerson,
    SuspenseOpen,
)
from services.clearing.domain.netting import Model
from services.clearing.domain.settlement import BreakKind, InstructionState, PaymentAccount

from .conftest import Centre, a_batch
from .test_results_and_windows import DAY, NOON, a_city, card_number, rides
from .test_suspense import ANN, BOB, a_key, broken, over_limit, posted

HEADER = "idempotency_key,bank_reference,amount_fen,status,booked_on,note\n"
SATURDAY = date(2025, 1, 4)


async def a_day(centre: Centre, amount: int = 200) -> None:
    """A closed window of the bus company: 50 rides; a bank that pays."""
    await a_city(centre)
    await centre.add_participant("bank", "11159901FFFFFFFF", 99)
    await SetPaymentAccount(centre.unit_of_work)(PaymentAccount("bus", "bank", "6222-0001", "公交公司"))
    centre.gateway.store("bus", a_batch(rides(centre, 50, amount=amount), 1), NOON)
    await centre.judge_all()
    await centre.close_window("bus", DAY)


def rows(*lines: str) -> bytes:
    return (HEADER + "".join(f"{line}\n" for line in lines)).encode()


async def breaks(centre: Centre) -> list[tuple[BreakKind, int, int]]:
    match = await SettlementReads(centre.unit_of_work, centre.clock).match(DAY)
    return [(one.kind, one.expected_fen, one.found_fen) for one in match.breaks]


async def test_a_statement_is_instructed_sent_paid_in_parts_and_matched(centre: Centre) -> None:
    await a_day(centre)
    make, take = (
        MakeInstructions(centre.unit_of_work, centre.clock),
        ImportBankReturn(centre.unit_of_work, centre.clock),
    )
    assert await breaks(centre) == [(BreakKind.NOT_INSTRUCTED, 9_950, 0)]
    (one,) = await make("bus", DAY)
    assert await make("bus", DAY) == [one]
    assert (one.key, one.amount_fen, one.state) == ("bus-20250102-net", 9_950, InstructionState.CREATED)
    send, key = SendInstructions(centre.unit_of_work), a_key()
    sent = await send("bank", key)
    # The answer was lost: the same request gets the same file; the next one has nothing left to send.
    assert await send("bank", key) == sent
    assert (await send("bank", a_key())).instruction_count == 0
    assert sent.content.decode().splitlines()[1] == "bus-20250102-net,2025-01-03,PAY,9950,6222-0001,公交公司"
    assert await breaks(centre) == []
    centre.clock.set(datetime(2025, 1, 5, tzinfo=UTC))
    assert await breaks(centre) == [(BreakKind.NOT_PAID, 9_950, 0)]
    first = rows("bus-20250102-net,B1,4000,PAID,2025-01-03,")
    assert (await take("bank", first)).taken == 1
    assert (await take("bank", first)).taken == 1
    assert await breaks(centre) == [(BreakKind.PARTLY_PAID, 9_950, 4_000)]
    rest = rows("bus-20250102-net,B1,4000,PAID,2025-01-03,", "bus-20250102-net,B2,5950,PAID,2025-01-04,")
    result = await take("bank", rest)
    assert (result.taken, result.known) == (1, 1)
    assert await breaks(centre) == []
    booked = [(event.event, line.debit_account, line.credit_account, line.amount_fen)
              for event in await posted(centre) for line in event.lines]  # fmt: skip
    assert booked == [("payout", "accounts/2203.bus", "accounts/1002", 4_000),
                      ("payout", "accounts/2203.bus", "accounts/1002", 5_950)]  # fmt: skip
    assert await broken(centre) == []


async def test_what_a_bank_refuses_is_sent_again_under_the_same_key(centre: Centre) -> None:
    await a_day(centre)
    await MakeInstructions(centre.unit_of_work, centre.clock)("bus", DAY)
    send, take = SendInstructions(centre.unit_of_work), ImportBankReturn(centre.unit_of_work, centre.clock)
    first = await send("bank", a_key())
    await take("bank", rows("bus-20250102-net,R1,9950,REJECTED,2025-01-03,account closed"))
    assert await breaks(centre) == [(BreakKind.REJECTED, 9_950, 0)]
    assert (await send("bank", a_key())).content == first.content
    await take("bank", rows("bus-20250102-net,B9,9951,PAID,2025-01-03,"))
    assert await breaks(centre) == [(BreakKind.OVERPAID, 9_950, 9_951)]


@pytest.mark.parametrize(
    ("content", "row", "fault"),
    [
        (b"\xff\xfe", 1, "NO_CSV_IN_UTF8"),
        (b"a,b\n", 1, "HEADER"),
        (rows("k,r,1,PAID,2025-01-03"), 2, "COLUMNS"),
        (rows("k,r,0,PAID,2025-01-03,"), 2, "AMOUNT"),
        (rows("k,r,-5,PAID,2025-01-03,"), 2, "AMOUNT"),
        (rows("k,r,1.5,PAID,2025-01-03,"), 2, "AMOUNT"),
        (rows("k,r,5,paid,2025-01-03,"), 2, "STATUS"),
        (rows("k,r,5,PAID,03.01.2025,"), 2, "DAY"),
        (rows("k,r,5,PAID,2025-01-03,", ",s,5,PAID,2025-01-03,"), 3, "TEXT"),
        (rows("k,r,5,PAID,2025-01-03,", "k,r,6,PAID,2025-01-03,"), 3, "REFERENCE_REUSED"),
    ],
)
async def test_a_bad_return_file_is_refused_whole_by_row_and_fault(
    centre: Centre, content: bytes, row: int, fault: str
) -> None:
    await a_day(centre)
    with pytest.raises(BankFileInvalid) as refused:
        await ImportBankReturn(centre.unit_of_work, centre.clock)("bank", content)
    assert refused.value.facts == {"row": str(row), "fault": fault}
    assert await centre.execute("SELECT 1 FROM bank_return") == []


async def test_a_payment_that_nobody_instructed_is_kept_as_a_break_and_moves_nothing(centre: Centre) -> None:
    await a_day(centre)
    await centre.add_participant("bank-2", "11169901FFFFFFFF", 98)
    await MakeInstructions(centre.unit_of_work, centre.clock)("bus", DAY)
    take = ImportBankReturn(centre.unit_of_work, centre.clock)
    result = await take("bank", rows("who,X1,70,PAID,2025-01-03,"))
    assert (result.taken, result.unknown) == (1, 1)
    # Another bank cannot say that it paid what it was not told to pay.
    assert (await take("bank-2", rows("bus-20250102-net,X1,9950,PAID,2025-01-03,"))).unknown == 1
    assert await breaks(centre) == [(BreakKind.UNKNOWN_RETURN, 0, 70), (BreakKind.UNKNOWN_RETURN, 0, 9_950)]
    assert await posted(centre) == []
    with pytest.raises(BankFileInvalid):
        await take("bank", rows("who,X1,71,PAID,2025-01-03,"))


async def test_gross_settlement_pays_and_collects(centre: Centre) -> None:
    await a_city(centre)
    await centre.add_participant("bank", "11159901FFFFFFFF", 99)
    friday = DAY + timedelta(days=1)
    await SettlementModels(centre.unit_of_work, centre.clock).set("bus", friday, Model.GROSS)
    centre.clock.advance(timedelta(days=1))
    centre.gateway.store("bus", a_batch(rides(centre, 50, at="20250103080910"), 1), NOON + timedelta(days=1))
    await centre.judge_all()
    await centre.close_window("bus", friday)
    make = MakeInstructions(centre.unit_of_work, centre.clock)
    with pytest.raises(PaymentAccountMissing):
        await make("bus", friday)
    await SetPaymentAccount(centre.unit_of_work)(PaymentAccount("bus", "bank", "6222-0001", "Bus"))
    assert [(one.part, one.amount_fen) for one in await make("bus", friday)] == [("fee", -50), ("gross", 10_000)]
    sent = await SendInstructions(centre.unit_of_work)("bank", a_key())
    assert (sent.pay_fen, sent.collect_fen) == (10_000, 50)
    await ImportBankReturn(centre.unit_of_work, centre.clock)("bank", rows("bus-20250103-fee,B1,50,PAID,2025-01-06,"))
    (event,) = await posted(centre)
    assert (event.lines[0].debit_account, event.lines[0].credit_account) == ("accounts/1002", "accounts/2203.bus")


def a_proposal(
    amount: int, who: str = ANN, original: date | None = None, contra: Contra = Contra.COMPENSATION
) -> AdjustmentRow:
    return AdjustmentRow(
        0, "bus", amount, contra, AdjustmentKind.MANUAL, original, "because", RequestState.PROPOSED, who
    )


async def test_an_adjustment_takes_two_persons_and_is_posted_once(centre: Centre) -> None:
    await a_day(centre)
    propose = ProposeAdjustment(centre.unit_of_work, centre.clock)
    decide = DecideAdjustment(centre.unit_of_work, centre.clock)
    with pytest.raises(AmountWrong):
        await propose(a_proposal(0), a_key())
    made = await propose(a_proposal(-700, original=DAY), a_key())
    with pytest.raises(SamePerson):
        await decide(made.id, a_key(ANN), approve=True)
    key = a_key(BOB)
    done = await decide(made.id, key, approve=True)
    assert await decide(made.id, key, approve=True) == done
    with pytest.raises(AdjustmentDecided):
        await decide(made.id, a_key(BOB), approve=True)
    # The window of the day is closed: it falls into the next one, and names the day that it corrects.
    assert (done.state, done.posted_on) == (RequestState.POSTED, DAY + timedelta(days=1))
    refused = await propose(a_proposal(5), a_key())
    assert (await decide(refused.id, a_key(BOB), approve=False)).state is RequestState.REFUSED
    statement = await centre.close_window("bus", DAY + timedelta(days=1))
    assert (statement.totals.adjustment_fen, statement.totals.net_fen) == (-700, -700)
    assert await broken(centre) == []


async def test_who_owes_more_than_its_cap_raises_one_alarm_until_it_does_not(centre: Centre) -> None:
    await a_day(centre)
    caps = Caps(centre.unit_of_work, centre.clock)
    await caps.set("bus", 1_000)
    assert await caps.check() == (0, 0)

    async def adjust(amount: int) -> None:
        made = await ProposeAdjustment(centre.unit_of_work, centre.clock)(a_proposal(amount), a_key())
        await DecideAdjustment(centre.unit_of_work, centre.clock)(made.id, a_key(BOB), approve=True)

    await adjust(-10_951)
    assert await caps.check() == (1, 0)
    assert await caps.check() == (0, 0)
    (alarm,) = await SettlementReads(centre.unit_of_work, centre.clock).alarms(0, 10, open_only=True)
    assert (alarm.kind, alarm.participant, alarm.limit_fen, alarm.found_fen) == ("net_debit_cap", "bus", 1_000, 1_001)
    await adjust(1)
    assert await caps.check() == (0, 1)


def a_ds_file(
    *claims: tuple[int, int, DisputeReason, DisputeRequest], sender: str = "11139901", number: int = 1
) -> bytes:
    """Claims as terminal sequence, amount, reason and request; numbered from `number`."""
    disputes = [
        Dispute(index, "990100000001", seq, card_number(seq), fen, reason, request, datetime(2025, 1, 5, tzinfo=UTC),
                DAY, number + index)
        for index, (seq, fen, reason, request) in enumerate(claims)
    ]  # fmt: skip
    return encode_batch(
        FileType.DS, encode_disputes(disputes), sender=sender, receiver="00009901", batch_number=number,
        created=datetime(2025, 1, 5, tzinfo=UTC), business_date=date(2025, 1, 5),
    )  # fmt: skip


TWICE = (DisputeReason.DEBITED_TWICE, DisputeRequest.GIVE_BACK_TO_CARD)
MISSING = (DisputeReason.RECORD_MISSING, DisputeRequest.PAY_ACQUIRER)


async def test_a_claim_is_filed_answered_and_posted_by_reversing_lines(centre: Centre) -> None:
    await a_day(centre)
    file, answer = FileDisputes(centre.unit_of_work, centre.clock), AnswerDispute(centre.unit_of_work, centre.clock)
    content = a_ds_file((3, 200, *TWICE), (777, 300, *MISSING))
    first, missing = await file("bus", content)
    assert await file("bus", content) == [first, missing]
    # Filed on Thursday the second at 21:00: ten working days later is the sixteenth.
    assert (first.settlement_date, missing.settlement_date, first.answer_date) == (DAY, None, date(2025, 1, 16))
    with pytest.raises(AmountWrong):
        await answer(first.id, 201, "too much", a_key())
    upheld = await answer(first.id, 200, "debited twice", a_key())
    with pytest.raises(DisputeAnswered):
        await answer(first.id, 0, "again", a_key())
    assert (await answer(missing.id, 0, "no receipt", a_key())).state is DisputeState.DENIED
    assert upheld.adjustment_id is not None
    with pytest.raises(SamePerson):
        await DecideAdjustment(centre.unit_of_work, centre.clock)(upheld.adjustment_id, a_key(ANN), approve=True)
    await DecideAdjustment(centre.unit_of_work, centre.clock)(upheld.adjustment_id, a_key(BOB), approve=True)
    states = [one.state for one in await DisputeReads(centre.unit_of_work).disputes("bus", 0, 0, 10)]
    assert states == [DisputeState.POSTED, DisputeState.DENIED]
    (event,) = await posted(centre)
    assert [(one.debit_account, one.credit_account, one.amount_fen) for one in event.lines] == [
        ("accounts/2203.bus", "accounts/2206", 200)
    ]
    assert (await centre.close_window("bus", DAY + timedelta(days=1))).totals.adjustment_fen == -200
    assert await broken(centre) == []


async def test_claims_that_cannot_be_filed_are_refused_whole(centre: Centre) -> None:
    await a_day(centre)
    file = FileDisputes(centre.unit_of_work, centre.clock)
    with pytest.raises(DisputeFileInvalid):
        await file("bus", b"x" * 300)
    with pytest.raises(DisputeFileInvalid) as refused:
        await file("bus", a_ds_file((3, 200, *TWICE), sender="11149901"))
    assert refused.value.facts["fault"] == "SENDER"
    with pytest.raises(RecordUnknown):
        await file("bus", a_ds_file((3, 200, *TWICE), (888, 200, *TWICE)))
    centre.clock.advance(timedelta(days=61))
    with pytest.raises(DisputeTooLate):
        await file("bus", a_ds_file((3, 200, *TWICE)))
    assert await DisputeReads(centre.unit_of_work).disputes(None, 0, 0, 10) == []


async def test_a_record_in_suspense_is_decided_there_and_not_by_a_claim(centre: Centre) -> None:
    await over_limit(centre)
    (claim,) = await FileDisputes(centre.unit_of_work, centre.clock)(
        "bus", a_ds_file((0, 700, DisputeReason.REJECTED_WRONGLY, DisputeRequest.PAY_ACQUIRER))
    )
    with pytest.raises(SuspenseOpen):
        await AnswerDispute(centre.unit_of_work, centre.clock)(claim.id, 700, "pay it", a_key())


async def test_a_locked_period_takes_no_correction_and_the_lock_never_moves_back(centre: Centre) -> None:
    await a_day(centre)
    lock = LockPeriod(centre.unit_of_work, centre.clock)
    late = a_batch(rides(centre, 5, first_seq=500, counter=1), 2)
    centre.gateway.store("bus", late, NOON + timedelta(hours=1))
    await centre.judge_all()
    with pytest.raises(PeriodOpen):
        await lock(SATURDAY, ANN)
    made = await ProposeAdjustment(centre.unit_of_work, centre.clock)(a_proposal(5, original=DAY), a_key())
    assert await lock(DAY, ANN) == (DAY, ANN)
    assert await lock(DAY - timedelta(days=5), BOB) == (DAY, ANN)
    with pytest.raises(PeriodLocked):
        await DecideAdjustment(centre.unit_of_work, centre.clock)(made.id, a_key(BOB), approve=True)
    with pytest.raises(PeriodLocked):
        await ProposeAdjustment(centre.unit_of_work, centre.clock)(a_proposal(5, original=DAY), a_key())
    with pytest.raises(PeriodLocked):
        await FileDisputes(centre.unit_of_work, centre.clock)("bus", a_ds_file((3, 200, *TWICE)))
