"""What bank flows must do, over rows in memory or in PostgreSQL: the same tests run against both."""

import uuid
from dataclasses import replace
from datetime import date, time, timedelta
from typing import Any

import pytest

from libs.errors import RequestIdReused
from libs.testkit.clock import FakeClock
from services.account.application.bank_booking import FlowBooks
from services.account.application.bank_ports import BankTransaction
from services.account.application.close_break import CloseBreak
from services.account.application.drive_bank_flow import DriveBankFlow
from services.account.application.fetch_bank_file import FetchBankFile
from services.account.application.import_bank_file import ImportBankFile
from services.account.application.list_breaks import ListBreaks
from services.account.application.match_bank_day import MatchBankDay
from services.account.application.register_bank import RegisterBank
from services.account.application.report_bank_answer import ReportBankAnswer
from services.account.application.reverse_bank_flow import ReverseBankFlow
from services.account.application.start_bank_flow import StartBankFlow
from services.account.application.sweep_bank_flows import SweepBankFlows
from services.account.domain.bank import Bank
from services.account.domain.bank_break import BankBreak, BreakKind, BreakOutcome, FileMatch
from services.account.domain.bank_errors import (
    BankCurrencyUnsupported,
    BankFileConflict,
    BankFileForeign,
    BankFlowBusy,
    BankLimitExceeded,
    BankOperationUnknown,
    BankSuspended,
    BankUnknown,
    BreakClosed,
    BreakUnknown,
    ReservationOwned,
)
from services.account.domain.bank_flow import FINAL, BankFlow, FlowKind, FlowState, Pace
from services.account.domain.bank_leg import BankAnswer, BankState, LegState, Verb
from services.account.domain.bank_order import BankAccount, FlowOrder
from services.account.domain.errors import InsufficientBalance, PurseUnknown
from services.account.domain.reservation import ReservationState
from tests.unit.account.bank_fakes import FakeBank, FakeGateway, Operation, a_file
from tests.unit.account.builders import a_key, a_posting, a_request, credit, debit, issued
from tests.unit.account.suites import Ledger

# Noon of Saturday, 1 September 2018: the banks' next working day.
MONDAY = date(2018, 9, 3)
ALICE = BankAccount("icbc", "alice")
BOB = BankAccount("abc", "bob")
HOLDER = "2211.holder-1"
HELD, CAPTURED, REVERSED, DECLINED = BankState.HELD, BankState.CAPTURED, BankState.REVERSED, BankState.DECLINED


def a_load(amount_fen: int = 500, account: str = HOLDER) -> FlowOrder:
    return FlowOrder(FlowKind.LOAD, amount_fen, (ALICE,), account)


def an_unload(amount_fen: int = 500) -> FlowOrder:
    return FlowOrder(FlowKind.UNLOAD, amount_fen, (ALICE,), HOLDER)


def a_transfer(amount_fen: int = 500) -> FlowOrder:
    return FlowOrder(FlowKind.TRANSFER, amount_fen, (ALICE, BOB))


class Flows:
    """Bank flows under test: use cases over one kind of transaction, against banks in memory."""

    def __init__(self, ledger: Ledger, transaction: BankTransaction, clock: FakeClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.icbc, self.abc = FakeBank("icbc"), FakeBank("abc")
        gateway = FakeGateway(self.icbc, self.abc)
        self.pace = Pace(1.0, 60.0)
        self.books = FlowBooks(ledger.chart, uuid.uuid4)
        self.transaction = transaction
        self._register = RegisterBank(transaction, ledger.chart)
        self.start = StartBankFlow(transaction, ledger.chart, clock, uuid.uuid4)
        self.drive = DriveBankFlow(transaction, gateway, self.books, clock, self.pace)
        self._match = MatchBankDay(transaction, self.books, clock)
        self.import_file = ImportBankFile(transaction, self._match)
        self.fetch_file = FetchBankFile(transaction, gateway, self.import_file)
        self.report = ReportBankAnswer(transaction, self.books, clock, self.pace)
        self.reverse = ReverseBankFlow(transaction, ledger.chart, self.books, clock)
        self.sweep = SweepBankFlows(transaction, self.drive, self._match, clock, 1.0)
        self._list_breaks = ListBreaks(transaction)
        self.close_break = CloseBreak(transaction, clock)

    async def register(self, participant: str = "icbc", **values: Any) -> Bank:
        return await self._register(Bank(participant, "bank:7443", **values), a_request())

    async def begin(self, order: FlowOrder) -> BankFlow:
        return await self.start(order, a_request())

    async def get(self, flow: BankFlow) -> BankFlow:
        async with self.transaction() as uow:
            return await uow.bank_flows.get(flow.id)

    async def bring_on(self, flow: BankFlow, calls: int = 60) -> BankFlow:
        """Make calls, moving the clock to each next time, until the flow ends or so many were made."""
        for _ in range(calls):
            flow = await self.drive.advance(flow.id)
            if flow.state in FINAL:
                break
            assert flow.next_time is not None
            self.clock.set(max(flow.next_time, self.clock.now()))
        return flow

    async def run(self, order: FlowOrder) -> BankFlow:
        return await self.bring_on(await self.begin(order))

    async def tell(self, flow: BankFlow, answer: BankAnswer, leg: int = 0) -> BankFlow:
        """The bank speaks by itself."""
        one = flow.legs[leg]
        await self.report(one.bank, one.operation, answer, a_request())
        return await self.get(flow)

    async def breaks(self, *, open_only: bool = True) -> list[BankBreak]:
        return await self._list_breaks(0, 100, "", open_only=open_only, kind=None)

    async def kinds(self) -> list[BreakKind]:
        return [row.kind for row in await self.breaks()]

    async def balance(self, name: str) -> int:
        return (await self.ledger.account(name)).balance_fen

    async def give(self, amount_fen: int) -> None:
        """Put money into the holder's online account."""
        await self.ledger.post(a_posting(debit("1221.north", amount_fen), credit(HOLDER, amount_fen)))

    async def take_file(self, content: bytes, bank: str = "icbc") -> FileMatch:
        return await self.import_file(bank, content)

    async def agree(self) -> None:
        """Our books with each bank are the bank's own."""
        for bank in (self.icbc, self.abc):
            async with self.transaction() as uow:
                names = {account.name for account in await uow.accounts.list_page("", 1000)}
            ours = await self.balance(f"2216.{bank.participant}") if f"2216.{bank.participant}" in names else 0
            # The account is a liability: what a bank owes us stands below zero.
            assert -ours == bank.captured_fen(), bank.participant


@pytest.fixture
async def flows(bank_flows: Flows) -> Flows:
    await bank_flows.register("icbc")
    await bank_flows.register("abc")
    return bank_flows


class FlowSuite:
    async def test_a_load_ends_posted_here_and_booked_at_the_bank(self, flows: Flows) -> None:
        flow = await flows.run(a_load(500))
        assert (flow.state, flow.legs[0].state) == (FlowState.POSTED, LegState.CAPTURED)
        assert await flows.balance(HOLDER) == 500
        assert flows.icbc.balances["alice"] == 100_000 - 500
        assert flows.icbc.calls == [Verb.AUTHORISE, Verb.CAPTURE]
        await flows.agree()

    @pytest.mark.parametrize(
        ("kind", "account", "balance_fen"),
        [
            (FlowKind.LOAD, HOLDER, 1_000 + 300),
            (FlowKind.UNLOAD, HOLDER, 1_000 - 300),
            (FlowKind.PURCHASE, "2203.cinema", 300),
            (FlowKind.CASH_WITHDRAWAL, "1221.north", 1_000 - 300),
        ],
    )
    async def test_each_kind_moves_its_account(
        self, flows: Flows, kind: FlowKind, account: str, balance_fen: int
    ) -> None:
        await flows.give(1_000)
        flow = await flows.run(FlowOrder(kind, 300, (ALICE,), account))
        assert flow.state is FlowState.POSTED
        assert await flows.balance(account) == balance_fen
        await flows.agree()

    async def test_a_load_onto_a_card_waits_for_it_at_the_centre(self, flows: Flows) -> None:
        await flows.ledger.issue(issued(a_key(1)))
        flow = await flows.run(FlowOrder(FlowKind.LOAD, 300, (ALICE,), purse=a_key(1)))
        assert (flow.state, flow.purse) == (FlowState.POSTED, a_key(1))
        assert await flows.balance("2206") == 300
        assert (await flows.ledger.purse(a_key(1))).loads_fen == 0

    async def test_a_load_onto_an_unknown_card_is_refused_and_holds_nothing(self, flows: Flows) -> None:
        with pytest.raises(PurseUnknown):
            await flows.begin(FlowOrder(FlowKind.LOAD, 300, (ALICE,), purse=a_key(9)))
        assert flows.icbc.calls == []

    async def test_a_transfer_takes_at_one_bank_and_gives_at_the_other(self, flows: Flows) -> None:
        flow = await flows.run(a_transfer(700))
        assert flow.state is FlowState.POSTED
        assert (flows.icbc.balances["alice"], flows.abc.balances["bob"]) == (99_300, 100_700)
        assert (await flows.balance("2216.icbc"), await flows.balance("2216.abc")) == (-700, 700)
        await flows.agree()

    async def test_a_transfer_within_one_bank_owes_nobody(self, flows: Flows) -> None:
        order = FlowOrder(FlowKind.TRANSFER, 700, (ALICE, BankAccount("icbc", "bob")))
        assert (await flows.run(order)).state is FlowState.POSTED
        assert await flows.balance("2216.icbc") == 0
        await flows.agree()

    async def test_what_a_bank_declines_is_let_go_at_once(self, flows: Flows) -> None:
        flow = await flows.run(a_load(100_001))
        assert (flow.state, flow.refusal) == (FlowState.VOIDED, "insufficient_funds")
        account = await flows.ledger.account(HOLDER)
        assert (account.balance_fen, account.pending_credits_fen) == (0, 0)
        assert flows.icbc.calls == [Verb.AUTHORISE]

    async def test_a_request_that_was_lost_is_asked_about_and_sent_again(self, flows: Flows) -> None:
        flows.icbc.faults.extend(["lost"])
        flow = await flows.run(a_load())
        assert flow.state is FlowState.POSTED
        assert flows.icbc.calls == [Verb.AUTHORISE, Verb.QUERY, Verb.AUTHORISE, Verb.CAPTURE]

    async def test_an_answer_that_was_lost_is_asked_for(self, flows: Flows) -> None:
        flows.icbc.faults.extend(["never", "", "never"])
        flow = await flows.run(a_load())
        assert flow.state is FlowState.POSTED
        assert flows.icbc.calls == [Verb.AUTHORISE, Verb.QUERY, Verb.CAPTURE, Verb.QUERY]
        await flows.agree()

    async def test_a_silent_bank_is_given_up_here_at_once_and_reversed_there_until_it_confirms(
        self, flows: Flows
    ) -> None:
        flows.icbc.faults.append("never")
        flow = await flows.bring_on(await flows.begin(a_load()), calls=1)
        assert flows.icbc.held_fen() == 500
        flows.icbc.broken = True
        flow = await flows.bring_on(flow, calls=12)
        assert (flow.state, flow.refusal) == (FlowState.GIVING_UP, "timeout")
        assert (await flows.ledger.account(HOLDER)).pending_credits_fen == 0
        flows.icbc.broken = False
        flow = await flows.bring_on(flow)
        assert (flow.state, flows.icbc.held_fen()) == (FlowState.VOIDED, 0)
        # Asked before it is told.
        assert flows.icbc.calls[-2:] == [Verb.QUERY, Verb.REVERSE]
        await flows.agree()

    async def test_a_request_that_arrives_after_the_reversal_holds_nothing(self, flows: Flows) -> None:
        flows.icbc.faults.append("lost")
        flow = await flows.bring_on(await flows.begin(a_load()), calls=1)
        flows.clock.advance(seconds=31)
        flow = await flows.bring_on(flow)
        assert flow.state is FlowState.VOIDED
        # The network hands it over now.
        assert flows.icbc.authorise(flow.legs[0]).state is REVERSED
        assert flows.icbc.held_fen() == 0

    async def test_a_yes_that_is_told_after_we_gave_up_leads_to_a_reversal(self, flows: Flows) -> None:
        flow = await flows.run(a_load(100_001))
        assert flow.state is FlowState.VOIDED
        # The bank takes its no back and holds the money after all.
        flows.icbc.operations[flow.legs[0].operation].state = HELD
        flow = await flows.tell(flow, BankAnswer(HELD, 100_001))
        assert flow.state is FlowState.GIVING_UP
        flow = await flows.bring_on(flow)
        assert (flow.state, flows.icbc.held_fen()) == (FlowState.VOIDED, 0)
        assert await flows.kinds() == [BreakKind.CONTRADICTION]

    async def test_a_late_yes_after_a_confirmed_reversal_is_no_contradiction(self, flows: Flows) -> None:
        flows.icbc.faults.append("never")
        flow = await flows.bring_on(await flows.begin(a_load()), calls=1)
        flows.clock.advance(seconds=31)
        flow = await flows.bring_on(flow)
        assert (await flows.tell(flow, BankAnswer(HELD, 500))).state is FlowState.GIVING_UP
        assert (await flows.bring_on(flow)).state is FlowState.VOIDED
        assert await flows.kinds() == []

    async def test_a_yes_that_is_told_before_its_answer_came_is_taken(self, flows: Flows) -> None:
        flows.icbc.faults.append("never")
        flow = await flows.bring_on(await flows.begin(a_load()), calls=1)
        flow = await flows.tell(flow, BankAnswer(HELD, 500))
        assert flow.state is FlowState.CAPTURING
        flow = await flows.bring_on(flow)
        assert (flow.state, flows.icbc.calls) == (FlowState.POSTED, [Verb.AUTHORISE, Verb.CAPTURE])

    @pytest.mark.parametrize("state", [HELD, CAPTURED])
    async def test_answers_that_come_again_change_nothing(self, flows: Flows, state: BankState) -> None:
        flow = await flows.run(a_load())
        assert await flows.tell(flow, BankAnswer(state, 500)) == flow
        assert (await flows.balance(HOLDER), await flows.kinds()) == (500, [])

    @pytest.mark.parametrize("state", [DECLINED, REVERSED])
    async def test_a_bank_that_takes_its_booking_back_is_named_and_nothing_moves(
        self, flows: Flows, state: BankState
    ) -> None:
        flow = await flows.run(a_load())
        await flows.tell(flow, BankAnswer(state, 500))
        await flows.tell(flow, BankAnswer(state, 500))
        (found,) = await flows.breaks()
        assert (found.kind, found.owner, found.flow) == (BreakKind.CONTRADICTION, "banks/icbc", flow.id)
        assert (found.our_state, found.bank_state) == ("CAPTURED", state.value)
        assert await flows.balance(HOLDER) == 500

    @pytest.mark.parametrize("state", [DECLINED, REVERSED, BankState.UNKNOWN])
    async def test_a_bank_that_takes_back_its_yes_gets_everything_undone(self, flows: Flows, state: BankState) -> None:
        flows.icbc.faults.extend(["", BankAnswer(state)])
        flow = await flows.run(a_load())
        assert (flow.state, flow.refusal) == (FlowState.VOIDED, "contradiction")
        assert await flows.kinds() == [BreakKind.CONTRADICTION]
        assert await flows.balance(HOLDER) == 0

    async def test_a_yes_to_another_amount_is_none(self, flows: Flows) -> None:
        flows.icbc.faults.append(BankAnswer(HELD, 501))
        flow = await flows.run(a_load())
        assert (flow.state, flow.refusal, flows.icbc.held_fen()) == (FlowState.VOIDED, "contradiction", 0)
        (found,) = await flows.breaks()
        assert (found.our_amount_fen, found.bank_amount_fen) == (500, 501)
        await flows.agree()

    async def test_a_no_told_against_a_yes_makes_us_ask_and_believe_the_answer(self, flows: Flows) -> None:
        flows.icbc.faults.extend(["", "never"])
        flow = await flows.bring_on(await flows.begin(a_load()), calls=2)
        assert flow.state is FlowState.CAPTURING
        await flows.tell(flow, BankAnswer(DECLINED))
        assert (await flows.bring_on(flow)).state is FlowState.POSTED
        assert await flows.kinds() == [BreakKind.CONTRADICTION]
        await flows.agree()

    @pytest.mark.parametrize("state", [DECLINED, REVERSED, BankState.UNKNOWN])
    async def test_a_first_bank_that_takes_back_its_yes_while_the_second_is_asked_is_not_asked_anew(
        self, flows: Flows, state: BankState
    ) -> None:
        flows.abc.faults.append("never")
        flow = await flows.bring_on(await flows.begin(a_transfer()), calls=2)
        await flows.tell(flow, BankAnswer(DECLINED))
        flows.icbc.faults.append(BankAnswer(state))
        flow = await flows.bring_on(flow)
        assert (flow.state, flow.refusal) == (FlowState.VOIDED, "contradiction")
        assert flows.icbc.calls.count(Verb.AUTHORISE) == 1
        await flows.agree()

    async def test_when_the_second_bank_declines_the_first_lets_go(self, flows: Flows) -> None:
        flows.abc.balances.pop("bob")
        flow = await flows.run(a_transfer())
        assert (flow.state, flow.refusal) == (FlowState.VOIDED, "account_unknown")
        assert (flows.icbc.held_fen(), flows.icbc.balances["alice"]) == (0, 100_000)
        await flows.agree()

    async def test_when_the_second_bank_does_not_book_the_first_pays_back(self, flows: Flows) -> None:
        flow = await flows.bring_on(await flows.begin(a_transfer()), calls=2)
        flows.abc.operations[flow.legs[1].operation].state = REVERSED
        flow = await flows.bring_on(flow)
        assert flow.state is FlowState.VOIDED
        assert (flows.icbc.balances["alice"], flows.abc.balances["bob"]) == (100_000, 100_000)
        assert await flows.kinds() == [BreakKind.CONTRADICTION]
        await flows.agree()

    async def test_a_bank_that_never_confirms_is_named_and_told_again_for_ever(self, flows: Flows) -> None:
        flows.icbc.faults.append("never")
        flow = await flows.bring_on(await flows.begin(a_load()), calls=1)
        flows.clock.advance(seconds=31)
        flows.icbc.broken = True
        flow = await flows.bring_on(flow, calls=40)
        assert flow.state is FlowState.GIVING_UP
        assert await flows.kinds() == [BreakKind.STUCK]
        flows.icbc.broken = False
        assert (await flows.bring_on(flow)).state is FlowState.VOIDED
        (closed,) = await flows.breaks(open_only=False)
        assert closed.outcome is BreakOutcome.RESOLVED

    async def test_an_unload_is_held_so_that_nothing_is_spent_twice(self, flows: Flows) -> None:
        await flows.give(500)
        flows.icbc.broken = True
        flow = await flows.bring_on(await flows.begin(an_unload(500)), calls=1)
        with pytest.raises(InsufficientBalance):
            await flows.begin(an_unload(1))
        flows.icbc.broken = False
        assert (await flows.bring_on(flow)).state is FlowState.POSTED
        assert await flows.balance(HOLDER) == 0
        await flows.agree()

    async def test_the_same_request_is_one_flow_and_other_content_is_refused(self, flows: Flows) -> None:
        request = a_request(content="load 500")
        first = await flows.start(a_load(), request)
        await flows.bring_on(first)
        again = await flows.start(a_load(), request)
        assert (again.id, again.state) == (first.id, FlowState.POSTED)
        with pytest.raises(RequestIdReused):
            await flows.start(a_load(501), replace(request, digest=bytes(32)))
        assert await flows.balance(HOLDER) == 500

    async def test_what_a_flow_holds_is_ended_by_the_flow_alone(self, flows: Flows) -> None:
        flow = await flows.begin(a_load())
        with pytest.raises(ReservationOwned):
            await flows.ledger.commit_reservation(flow.id)
        with pytest.raises(ReservationOwned):
            await flows.ledger.void_reservation(flow.id)
        assert (await flows.ledger.reservation(flow.id)).state is ReservationState.PENDING

    async def test_the_sweep_brings_on_what_nobody_waits_for(self, flows: Flows) -> None:
        first, second = await flows.begin(a_load()), await flows.begin(a_load(100_001))
        for _ in range(5):
            await flows.sweep.sweep()
            flows.clock.advance(seconds=30)
        assert [(await flows.get(flow)).state for flow in (first, second)] == [FlowState.POSTED, FlowState.VOIDED]
        assert await flows.sweep.sweep() == 0

    async def test_nobody_asks_while_another_waits_for_the_answer(self, flows: Flows) -> None:
        flow = await flows.begin(a_load())
        async with flows.transaction() as uow:
            found = await uow.bank_flows.get_for_update(flow.id)
            step = found.step()
            assert step is not None
            await uow.bank_flows.save(found, found.asking(step, flows.clock.now(), 10))
            await uow.commit()
        await flows.drive.advance(flow.id)
        assert flows.icbc.calls == []
        flows.clock.advance(seconds=10)
        await flows.drive.advance(flow.id)
        assert flows.icbc.calls == [Verb.QUERY]

    async def test_another_banks_operation_is_unknown_to_a_bank(self, flows: Flows) -> None:
        flow = await flows.begin(a_load())
        with pytest.raises(BankOperationUnknown):
            await flows.report("abc", flow.legs[0].operation, BankAnswer(HELD, 500), a_request())

    async def test_random_faults_never_lose_money(self, flows: Flows) -> None:
        await flows.give(50_000)
        words: list[str | BankAnswer] = ["lost", "never", BankAnswer(DECLINED), BankAnswer(HELD, 500), ""]
        for number in range(40):
            for bank, shift in ((flows.icbc, 0), (flows.abc, 3)):
                bank.faults.extend(words[(number * 7 + shift + place * place) % len(words)] for place in range(4))
            order = (a_load(), an_unload(), a_transfer())[number % 3]
            await flows.bring_on(await flows.begin(order))
        for bank in (flows.icbc, flows.abc):
            bank.faults.clear()
        # What a bank holds against its own word, its daily file shows, and it is told to let go.
        for bank in (flows.icbc, flows.abc):
            for revision in (1, 2):
                await flows.take_file(bank.file(MONDAY, revision), bank.participant)
                for _ in range(6):
                    await flows.sweep.sweep()
                    flows.clock.advance(seconds=60)
            assert bank.held_fen() == 0
        await flows.agree()


class TakingBackSuite:
    async def test_a_posted_flow_is_undone_at_the_bank_and_then_in_the_books(self, flows: Flows) -> None:
        flow = await flows.run(a_load())
        undoing = await flows.reverse(flow.id, a_request())
        assert undoing.state is FlowState.UNDOING
        assert (await flows.ledger.account(HOLDER)).pending_debits_fen == 500
        flow = await flows.bring_on(undoing)
        assert (flow.state, flow.undo_journal is not None) == (FlowState.UNDONE, True)
        assert (await flows.balance(HOLDER), flows.icbc.balances["alice"]) == (0, 100_000)
        await flows.agree()

    async def test_undoing_twice_undoes_once(self, flows: Flows) -> None:
        flow = await flows.run(a_load())
        request = a_request()
        await flows.bring_on(await flows.reverse(flow.id, request))
        for again in (request, a_request()):
            assert (await flows.reverse(flow.id, again)).state is FlowState.UNDONE
        await flows.agree()

    async def test_what_is_spent_cannot_be_taken_back(self, flows: Flows) -> None:
        flow = await flows.run(a_load())
        await flows.ledger.post(a_posting(debit(HOLDER, 1), credit("2203.cinema", 1)))
        with pytest.raises(InsufficientBalance):
            await flows.reverse(flow.id, a_request())
        assert (await flows.get(flow)).state is FlowState.POSTED

    async def test_a_flow_is_cancelled_before_the_bank_has_said_yes(self, flows: Flows) -> None:
        flow = await flows.begin(a_load())
        flow = await flows.reverse(flow.id, a_request())
        assert (flow.state, flow.refusal, flows.icbc.calls) == (FlowState.VOIDED, "cancelled", [])

    async def test_a_flow_is_busy_while_the_bank_books(self, flows: Flows) -> None:
        flows.icbc.faults.extend(["", "never"])
        flow = await flows.bring_on(await flows.begin(a_load()), calls=2)
        with pytest.raises(BankFlowBusy):
            await flows.reverse(flow.id, a_request())

    async def test_a_bank_that_cannot_take_back_is_named_and_we_keep_what_we_hold(self, flows: Flows) -> None:
        await flows.give(500)
        flow = await flows.run(an_unload())
        flows.icbc.balances["alice"] = 100
        flow = await flows.bring_on(await flows.reverse(flow.id, a_request()), calls=30)
        assert (flow.state, await flows.kinds()) == (FlowState.UNDOING, [BreakKind.STUCK])
        flows.icbc.balances["alice"] = 500
        assert (await flows.bring_on(flow)).state is FlowState.UNDONE
        assert await flows.balance(HOLDER) == 500


class BankSuite:
    async def test_only_registered_banks_are_used(self, flows: Flows) -> None:
        order = FlowOrder(FlowKind.LOAD, 1, (BankAccount("nobody", "alice"),), HOLDER)
        with pytest.raises(BankUnknown):
            await flows.begin(order)

    async def test_what_is_registered_is_kept_and_can_be_changed(self, flows: Flows) -> None:
        bank = await flows.register(
            "icbc",
            settlement_account="6222",
            operation_limit_fen=10,
            day_limit_fen=20,
            cut_off=time(17, 30),
            holidays=frozenset({date(2018, 10, 1)}),
            make_up_days=frozenset({date(2018, 9, 29)}),
            call_timeout_s=1.5,
            patience_s=9.5,
        )
        async with flows.transaction() as uow:
            assert await uow.banks.get("icbc") == bank
            assert [one.participant for one in await uow.banks.list_page("", 9)] == ["abc", "icbc"]

    async def test_a_currency_that_the_books_do_not_hold_is_refused(self, flows: Flows) -> None:
        with pytest.raises(BankCurrencyUnsupported) as refused:
            await flows.register("citi", currency="USD")
        assert refused.value.facts == {"currency": "USD"}

    async def test_a_suspended_bank_takes_no_new_flows_and_ends_the_others(self, flows: Flows) -> None:
        flow = await flows.begin(a_load())
        await flows.register("icbc", suspended=True, operation_limit_fen=1)
        with pytest.raises(BankSuspended):
            await flows.begin(a_load())
        assert (await flows.bring_on(flow)).state is FlowState.POSTED

    async def test_limits_name_bank_scope_and_amounts(self, flows: Flows) -> None:
        await flows.register("icbc", operation_limit_fen=500, day_limit_fen=800)
        with pytest.raises(BankLimitExceeded) as refused:
            await flows.begin(a_load(501))
        assert refused.value.facts["scope"] == "operation"
        await flows.begin(a_load(500))
        with pytest.raises(BankLimitExceeded) as refused:
            await flows.begin(a_load(301))
        facts = {"bank": "icbc", "scope": "day", "limit_fen": "800", "used_fen": "500", "amount_fen": "301"}
        assert refused.value.facts == facts
        await flows.begin(a_load(300))

    async def test_what_ends_void_gives_its_part_of_the_day_back(self, flows: Flows) -> None:
        await flows.register("icbc", day_limit_fen=200_000)
        assert (await flows.run(a_load(150_000))).state is FlowState.VOIDED
        await flows.begin(a_load(200_000))

    async def test_a_new_business_day_has_a_new_limit(self, flows: Flows) -> None:
        await flows.register("icbc", day_limit_fen=500)
        assert (await flows.begin(a_load())).legs[0].business_date == MONDAY
        flows.clock.advance(days=3)
        assert (await flows.begin(a_load())).legs[0].business_date == date(2018, 9, 4)


class MatchSuite:
    async def test_a_day_that_agrees_has_no_breaks(self, flows: Flows) -> None:
        await flows.give(900)
        for order in (a_load(), an_unload(900), a_load(200_001)):
            await flows.run(order)
        match = await flows.take_file(flows.icbc.file(MONDAY))
        assert (match.line_count, match.matched_count, match.differing_count, match.only_bank_count) == (2, 2, 0, 0)
        assert (match.debit_total_fen, match.credit_total_fen, match.only_ours_count) == (500, 900, 0)
        assert await flows.breaks(open_only=False) == []

    async def test_each_way_to_disagree_has_its_name_its_owner_and_its_amounts(self, flows: Flows) -> None:
        ours, amount, state = [(await flows.run(a_load(fen))).legs[0].operation for fen in (100, 200, 300)]
        stranger = uuid.uuid4()
        bank = flows.icbc.operations
        del bank[ours]
        bank[amount].amount_fen = 201
        bank[state].state = REVERSED
        bank[stranger] = Operation(CAPTURED, bank[amount].direction, "alice", 77, MONDAY)
        match = await flows.take_file(flows.icbc.file(MONDAY))
        assert (match.line_count, match.matched_count, match.differing_count, match.only_bank_count) == (3, 0, 2, 1)
        assert match.only_ours_count == 1
        found = {row.operation: row for row in await flows.breaks()}
        said = {name: (row.kind, row.our_amount_fen, row.bank_amount_fen) for name, row in found.items()}
        assert said == {
            ours: (BreakKind.ONLY_OURS, 100, 0),
            amount: (BreakKind.AMOUNT_DIFFERS, 200, 201),
            state: (BreakKind.STATE_DIFFERS, 300, 300),
            stranger: (BreakKind.ONLY_BANK, 0, 77),
        }
        assert {row.owner for row in found.values()} == {"banks/icbc"}
        assert (found[state].our_state, found[state].bank_state) == ("CAPTURED", "REVERSED")
        flows.clock.advance(days=2)
        assert found[ours].age(flows.clock.now()) == timedelta(days=2)

    async def test_importing_again_changes_nothing(self, flows: Flows) -> None:
        await flows.run(a_load())
        content = flows.icbc.file(MONDAY)
        stranger = a_file([], business_date=MONDAY)
        first = await flows.take_file(stranger)
        before = await flows.breaks()
        again = await flows.take_file(stranger)
        assert (first.repeated, again.repeated, replace(again, repeated=False)) == (False, True, first)
        assert await flows.breaks() == before
        with pytest.raises(BankFileConflict) as refused:
            await flows.take_file(content)
        assert refused.value.facts["revision"] == "1"

    async def test_a_higher_revision_settles_what_the_first_left_open(self, flows: Flows) -> None:
        await flows.run(a_load())
        await flows.take_file(a_file([], business_date=MONDAY))
        assert await flows.kinds() == [BreakKind.ONLY_OURS]
        match = await flows.take_file(flows.icbc.file(MONDAY, revision=2))
        assert (match.revision, match.matched_count) == (2, 1)
        (closed,) = await flows.breaks(open_only=False)
        assert closed.outcome is BreakOutcome.RESOLVED
        with pytest.raises(BankFileConflict):
            await flows.take_file(flows.icbc.file(MONDAY, revision=1))

    async def test_a_flow_that_ends_after_the_file_is_matched_again_by_the_sweep(self, flows: Flows) -> None:
        flows.icbc.faults.extend(["", "never"])
        flow = await flows.bring_on(await flows.begin(a_load()), calls=2)
        assert flow.state is FlowState.CAPTURING
        await flows.take_file(flows.icbc.file(MONDAY))
        (found,) = await flows.breaks()
        assert (found.kind, found.owner) == (BreakKind.STATE_DIFFERS, "centre")
        assert (await flows.bring_on(flow)).state is FlowState.POSTED
        await flows.sweep.sweep()
        (closed,) = await flows.breaks(open_only=False)
        assert closed.outcome is BreakOutcome.RESOLVED

    async def test_what_the_file_says_is_held_for_a_voided_flow_is_reversed_there(self, flows: Flows) -> None:
        flows.icbc.faults.append(BankAnswer(DECLINED, refusal="insufficient_funds"))
        flow = await flows.run(a_load())
        assert (flow.state, flows.icbc.held_fen()) == (FlowState.VOIDED, 500)
        await flows.take_file(flows.icbc.file(MONDAY))
        assert await flows.kinds() == [BreakKind.STATE_DIFFERS]
        flow = await flows.bring_on(flow)
        assert (flow.state, flows.icbc.held_fen()) == (FlowState.VOIDED, 0)
        # The old file goes on saying so; nobody chases the same word twice.
        calls = len(flows.icbc.calls)
        for _ in range(3):
            await flows.sweep.sweep()
        assert len(flows.icbc.calls) == calls
        await flows.take_file(flows.icbc.file(MONDAY, revision=2))
        assert [row for row in await flows.breaks() if row.kind is BreakKind.STATE_DIFFERS] == []

    async def test_the_file_of_a_later_day_has_the_last_word_on_an_operation(self, flows: Flows) -> None:
        flow = await flows.run(a_load())
        await flows.take_file(flows.icbc.file(MONDAY))
        undone = await flows.bring_on(await flows.reverse(flow.id, a_request()))
        assert undone.state is FlowState.UNDONE
        await flows.sweep.sweep()
        assert await flows.kinds() == [BreakKind.STATE_DIFFERS]
        flows.icbc.operations[flow.legs[0].operation].business_date = date(2018, 9, 4)
        await flows.take_file(flows.icbc.file(date(2018, 9, 4)))
        await flows.sweep.sweep()
        assert await flows.breaks() == []

    async def test_a_break_is_closed_once_with_a_reason_and_not_opened_again(self, flows: Flows) -> None:
        await flows.run(a_load())
        await flows.take_file(a_file([], business_date=MONDAY))
        (found,) = await flows.breaks()
        request = a_request()
        closed = await flows.close_break(found.id, "the bank pays by hand", request)
        assert (closed.outcome, closed.note) == (BreakOutcome.DECIDED, "the bank pays by hand")
        assert await flows.close_break(found.id, "the bank pays by hand", request) == closed
        with pytest.raises(BreakClosed):
            await flows.close_break(found.id, "again", a_request())
        with pytest.raises(BreakUnknown):
            await flows.close_break(found.id + 1, "none", a_request())
        await flows.take_file(a_file([], business_date=MONDAY))
        assert await flows.breaks() == []

    async def test_a_file_of_another_bank_day_or_currency_is_refused(self, flows: Flows) -> None:
        for content in (a_file([], bank="abc"), a_file([], currency="USD")):
            with pytest.raises(BankFileForeign):
                await flows.take_file(content)
        with pytest.raises(BankFileForeign):
            await flows.import_file("icbc", a_file([]), date(2018, 9, 2))
        with pytest.raises(BankUnknown):
            await flows.take_file(b"", "nobody")

    async def test_a_file_is_fetched_from_the_bank(self, flows: Flows) -> None:
        await flows.run(a_load())
        assert (await flows.fetch_file("icbc", MONDAY)).matched_count == 1
