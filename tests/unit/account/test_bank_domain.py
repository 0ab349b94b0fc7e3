"""Banks' days, the daily file to the byte, and the word of a bank in every state of a flow."""

import hashlib
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.account.domain.bank import Bank
from services.account.domain.bank_errors import BankFileMalformed
from services.account.domain.bank_file import BankFile
from services.account.domain.bank_flow import FINAL, HOLDING, BankFlow, FlowKind, FlowState, Pace
from services.account.domain.bank_leg import BINDING, BankAnswer, BankState, Direction, LegState, Verb
from services.account.domain.bank_order import BankAccount, FlowOrder
from tests.unit.account.bank_fakes import Operation, a_file
from tests.unit.account.builders import NOON

OPERATION = "6f0e2c1a-8a3b-4d55-9b1e-0c2d3e4f5a6b"
LINE = f"D,{OPERATION},DEBIT,500,CAPTURED,BK0001,2018-09-03T04:00:00Z"
BOOKED = [Operation(BankState.CAPTURED, Direction.DEBIT, amount_fen=500)]
PACE = Pace(1.0, 60.0)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + "+08:00").astimezone(UTC)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2018-09-03T21:59:59", "2018-09-03"),
        ("2018-09-03T22:00:00", "2018-09-04"),
        ("2018-09-07T22:00:00", "2018-09-10"),
        ("2018-09-08T12:00:00", "2018-09-10"),
        # National holiday, and the Saturday that makes up for it.
        ("2018-09-28T23:00:00", "2018-09-29"),
        ("2018-09-29T23:00:00", "2018-10-08"),
    ],
)
def test_a_moment_counts_for_the_banks_next_working_day_after_its_cut_off(moment: str, day: str) -> None:
    holidays = frozenset(date(2018, 10, 1) + timedelta(days=number) for number in range(5))
    bank = Bank("icbc", "bank:1", holidays=holidays, make_up_days=frozenset({date(2018, 9, 29)}))
    assert bank.business_date(at(moment)) == date.fromisoformat(day)


def test_a_bank_that_books_every_day_has_no_weekend() -> None:
    bank = Bank("icbc", "bank:1", works_weekends=True, cut_off=time(17, 30))
    assert bank.business_date(at("2018-09-08T17:30:00")) == date(2018, 9, 9)


def test_the_daily_file_is_read_to_the_byte() -> None:
    content = a_file([LINE], BOOKED)
    file = BankFile.decode(content)
    assert (file.bank, file.business_date, file.revision, file.currency) == ("icbc", date(2018, 9, 3), 1, "CNY")
    assert (file.operations, file.directions, file.amounts_fen) == ((OPERATION,), ("DEBIT",), (500,))
    assert (file.states, file.references) == (("CAPTURED",), ("BK0001",))
    assert file.times == (datetime(2018, 9, 3, 4, tzinfo=UTC),)
    assert (file.debit_total_fen, file.credit_total_fen) == (500, 0)
    assert file.digest == hashlib.sha256(content).digest()


def test_the_example_of_the_partner_page_is_a_file() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "partners" / "bank.md").read_text(encoding="utf-8")
    (example,) = [block for block in page.split("```\n") if block.startswith("H,citycard-bank-file")]
    file = BankFile.decode(example.encode())
    assert (len(file), file.debit_total_fen, file.credit_total_fen) == (3, 50_000, 12_345)


def test_an_empty_day_is_a_file_too() -> None:
    assert len(BankFile.decode(a_file([]))) == 0


BROKEN: list[tuple[bytes, int, str]] = [
    (b"", 1, "line end"),
    (b"\n", 1, "header"),
    (b"H,citycard-bank-file,1,icbc,2018-09-03,1,CNY\n", 1, "no trailer"),
    (b"H,citycard-bank-file,2,icbc,2018-09-03,1,CNY\nT\n", 1, "header"),
    (b"H,citycard-bank-file,1,icbc,2018-02-30,1,CNY\nT\n", 1, "no day"),
    (a_file([LINE], BOOKED)[:-1], 3, "line end"),
    (a_file([LINE], BOOKED)[:-70], 3, "line end"),
    (a_file([LINE], BOOKED).replace(b"\n", b"\r\n"), 1, "header"),
    (b"\xef\xbb\xbf" + a_file([LINE], BOOKED), 1, "ASCII"),
    (a_file([LINE, ""], BOOKED), 3, "no detail line"),
    (a_file([LINE, LINE], BOOKED * 2), 3, "stands twice"),
    (a_file([LINE.replace("500", "0500")], BOOKED), 2, "no detail line"),
    (a_file([LINE.replace("500", "-500")], BOOKED), 2, "no detail line"),
    (a_file([LINE.replace("500", "5.00")], BOOKED), 2, "no detail line"),
    (a_file([LINE.replace("CAPTURED", "BOOKED")], BOOKED), 2, "no detail line"),
    (a_file([LINE.replace("09-03T", "13-03T")], BOOKED), 2, "no moment"),
    (a_file([LINE + ",more"], BOOKED), 2, "no detail line"),
    (a_file([LINE], BOOKED).replace(b",500,", b",501,", 1), 3, "captured debits"),
    (a_file([LINE], BOOKED).replace(b"T,1,", b"T,2,"), 3, "lines 2"),
    (a_file([LINE], BOOKED).replace(b"BK0001", b"BK0002"), 3, "digest"),
    (a_file([LINE], BOOKED) + b"\n", 3, "no detail line"),
    (a_file([LINE], BOOKED) + a_file([LINE], BOOKED), 3, "no detail line"),
]


@pytest.mark.parametrize(("content", "line", "mistake"), BROKEN)
def test_a_file_that_breaks_its_format_is_refused_whole_with_line_and_mistake(
    content: bytes, line: int, mistake: str
) -> None:
    with pytest.raises(BankFileMalformed) as refused:
        BankFile.decode(content)
    assert refused.value.facts["line"] == str(line)
    assert mistake in refused.value.facts["mistake"]


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_no_changed_byte_passes(place: int, byte: int) -> None:
    content = bytearray(a_file([LINE], BOOKED))
    place %= len(content)
    if content[place] == byte:
        return
    content[place] = byte
    with pytest.raises(BankFileMalformed):
        BankFile.decode(bytes(content))


def a_flow(kind: FlowKind = FlowKind.LOAD) -> BankFlow:
    banks = {name: Bank(name, "bank:1") for name in ("icbc", "abc")}
    accounts = (BankAccount("icbc", "alice"), BankAccount("abc", "bob"))[: 2 if kind is FlowKind.TRANSFER else 1]
    account = "" if kind is FlowKind.TRANSFER else "2211.h"
    order = FlowOrder(kind, 500, accounts, account)
    return order.flow(uuid4(), banks, [uuid4() for _ in accounts], NOON)


class HonestBank:
    """The operation of one leg at a bank that keeps to the contract, behind a line that loses and doubles."""

    def __init__(self) -> None:
        self.state = BankState.UNKNOWN
        self.said = [BankState.UNKNOWN]

    def do(self, verb: Verb, *, declines: bool) -> BankAnswer:
        if verb is Verb.AUTHORISE and self.state is BankState.UNKNOWN:
            self.state = BankState.DECLINED if declines else BankState.HELD
        if verb is Verb.CAPTURE and self.state is BankState.HELD:
            self.state = BankState.CAPTURED
        if verb is Verb.REVERSE and self.state is not BankState.DECLINED:
            self.state = BankState.REVERSED
        self.said.append(self.state)
        return BankAnswer(self.state, 500 if self.state in BINDING else 0)


LINE_FAULTS = st.sampled_from(["well", "well", "lost", "never", "late", "declines", "tells", "cancel"])


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from([FlowKind.LOAD, FlowKind.UNLOAD, FlowKind.TRANSFER]),
    faults=st.lists(LINE_FAULTS, max_size=25),
    data=st.data(),
)
def test_an_honest_bank_behind_any_line_ends_where_the_flow_ends(
    kind: FlowKind, faults: list[str], data: st.DataObject
) -> None:
    flow, now = a_flow(kind), NOON
    banks = [HonestBank() for _ in flow.legs]
    late: list[tuple[int, Verb, bool]] = []
    released = False
    for fault in [*faults, *["well"] * 60]:
        flow = flow.overdue(now)
        if fault == "cancel" and flow.state is FlowState.AUTHORISING:
            flow = flow.cancel(now)
        if fault == "tells":
            index = data.draw(st.integers(0, len(banks) - 1))
            if banks[index].state is not BankState.UNKNOWN:
                # The bank's own word, perhaps an old one.
                state = data.draw(st.sampled_from([one for one in banks[index].said if one is not BankState.UNKNOWN]))
                answer = BankAnswer(state, 500 if state in BINDING else 0)
                flow = flow.heard(index, None, answer, now, PACE).flow
        step = flow.step()
        if step is not None:
            flow = flow.asking(step, now, 10)
            bank = banks[step.index]
            if fault == "late":
                late.append((step.index, step.verb, False))
            if fault not in ("lost", "late"):
                answer = bank.do(step.verb, declines=fault == "declines")
            heard = (
                flow.silent(step, now, PACE)
                if fault in ("lost", "late", "never")
                else flow.heard(step.index, step.verb, answer, now, PACE)
            )
            flow = heard.flow
        elif late:
            # What the line kept back arrives at the bank at last, and its answer at nobody.
            index, verb, _ = late.pop(0)
            # A capture that comes after the flow was given up finds a reversal, or is reversed by the next word.
            banks[index].do(verb, declines=False)
        released |= flow.state not in HOLDING and flow.state is not FlowState.POSTED
        assert not (released and flow.state is FlowState.POSTED), "what was let go is never posted"
        now += timedelta(seconds=7)
    assert flow.state in FINAL
    ends = {bank.state for bank in banks}
    if flow.state is FlowState.POSTED:
        assert ends == {BankState.CAPTURED}
    else:
        assert ends <= {BankState.UNKNOWN, BankState.DECLINED, BankState.REVERSED}
    for bank, leg in zip(banks, flow.legs, strict=True):
        assert (bank.state is BankState.UNKNOWN) <= (not leg.sent), "what was sent is decided at the bank"
        assert (leg.state is LegState.CAPTURED) == (bank.state is BankState.CAPTURED)


def test_pauses_double_up_to_the_longest() -> None:
    assert [Pace(1, 10).pause(n).total_seconds() for n in (0, 1, 2, 3, 4, 5, 1000)] == [0, 1, 2, 4, 8, 10, 10]
