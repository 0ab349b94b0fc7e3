"""What any bank must do behind the gateway: the bank in memory and the reference bank pass the same tests."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from uuid import uuid4

from services.account.application.bank_ports import BankGateway
from services.account.domain.bank import Bank
from services.account.domain.bank_file import BankFile
from services.account.domain.bank_leg import BankAnswer, BankLeg, BankState, Direction, Verb
from tests.unit.account.builders import NOON

DAY = date(2018, 9, 3)
START_FEN = 1_000


@dataclass(frozen=True)
class BankWorld:
    """A bank with one account, `alice`, that holds 1000 fen."""

    gateway: BankGateway
    bank: Bank
    balance_fen: Callable[[], int]

    async def ask(self, verb: Verb, leg: BankLeg) -> BankState:
        answer = await self.answer(verb, leg)
        return answer.state

    async def answer(self, verb: Verb, leg: BankLeg) -> BankAnswer:
        # Far ahead: the reference bank lives on the machine's clock, and what it holds must not run out.
        return await self.gateway.ask(self.bank, verb, leg, "load", NOON + timedelta(days=36_500))


def an_operation(amount_fen: int = 400, direction: Direction = Direction.DEBIT, token: str = "alice") -> BankLeg:
    return BankLeg("icbc", direction, uuid4(), token, amount_fen, DAY)


class GatewaySuite:
    async def test_what_it_never_heard_of_is_unknown(self, world: BankWorld) -> None:
        assert await world.answer(Verb.QUERY, an_operation()) == BankAnswer(BankState.UNKNOWN)

    async def test_an_operation_is_held_and_booked_once_however_often_it_is_asked(self, world: BankWorld) -> None:
        leg = an_operation()
        for verb, state in (
            (Verb.AUTHORISE, BankState.HELD),
            (Verb.AUTHORISE, BankState.HELD),
            (Verb.QUERY, BankState.HELD),
            (Verb.CAPTURE, BankState.CAPTURED),
            (Verb.CAPTURE, BankState.CAPTURED),
            (Verb.AUTHORISE, BankState.CAPTURED),
            (Verb.QUERY, BankState.CAPTURED),
        ):
            answer = await world.answer(verb, leg)
            assert (answer.state, answer.amount_fen) == (state, 400)
            assert answer.reference
        assert world.balance_fen() == START_FEN - 400

    async def test_what_is_held_cannot_be_held_again(self, world: BankWorld) -> None:
        assert await world.ask(Verb.AUTHORISE, an_operation(700)) is BankState.HELD
        second = an_operation(301)
        answer = await world.answer(Verb.AUTHORISE, second)
        assert (answer.state, answer.refusal) == (BankState.DECLINED, "insufficient_funds")
        for verb in Verb:
            assert await world.ask(verb, second) is BankState.DECLINED

    async def test_an_account_that_it_does_not_have_is_declined(self, world: BankWorld) -> None:
        for direction in Direction:
            answer = await world.answer(Verb.AUTHORISE, an_operation(direction=direction, token="nobody"))
            assert (answer.state, answer.refusal) == (BankState.DECLINED, "account_unknown")

    async def test_what_is_held_is_let_go_and_what_is_booked_is_paid_back(self, world: BankWorld) -> None:
        for before in ((Verb.AUTHORISE,), (Verb.AUTHORISE, Verb.CAPTURE)):
            leg = an_operation(START_FEN)
            for verb in before:
                await world.ask(verb, leg)
            for verb in (Verb.REVERSE, Verb.REVERSE, Verb.CAPTURE, Verb.AUTHORISE, Verb.QUERY):
                assert await world.ask(verb, leg) is BankState.REVERSED
            assert world.balance_fen() == START_FEN

    async def test_a_reversal_that_comes_first_keeps_the_operation_from_ever_being_held(self, world: BankWorld) -> None:
        leg = an_operation()
        for verb in (Verb.REVERSE, Verb.AUTHORISE, Verb.CAPTURE):
            assert await world.ask(verb, leg) is BankState.REVERSED
        assert await world.ask(Verb.AUTHORISE, an_operation(START_FEN)) is BankState.HELD

    async def test_another_amount_books_nothing(self, world: BankWorld) -> None:
        leg = an_operation()
        await world.ask(Verb.AUTHORISE, leg)
        assert await world.ask(Verb.CAPTURE, replace(leg, amount_fen=399)) is BankState.HELD
        assert world.balance_fen() == START_FEN

    async def test_a_credit_is_paid_in_when_it_is_booked_and_not_taken_back_once_it_is_spent(
        self, world: BankWorld
    ) -> None:
        leg = an_operation(400, Direction.CREDIT)
        assert await world.ask(Verb.AUTHORISE, leg) is BankState.HELD
        assert world.balance_fen() == START_FEN
        assert await world.ask(Verb.CAPTURE, leg) is BankState.CAPTURED
        assert world.balance_fen() == START_FEN + 400
        spent = an_operation(START_FEN + 1)
        for verb in (Verb.AUTHORISE, Verb.CAPTURE):
            await world.ask(verb, spent)
        assert await world.ask(Verb.REVERSE, leg) is BankState.CAPTURED
        await world.ask(Verb.REVERSE, spent)
        assert await world.ask(Verb.REVERSE, leg) is BankState.REVERSED

    async def test_the_daily_file_says_what_became_of_each_operation(self, world: BankWorld) -> None:
        said = {}
        for verbs in ((Verb.AUTHORISE,), (Verb.AUTHORISE, Verb.CAPTURE), (Verb.AUTHORISE, Verb.REVERSE)):
            leg = an_operation(100)
            for verb in verbs:
                said[str(leg.operation)] = (await world.ask(verb, leg)).value
        await world.ask(Verb.AUTHORISE, an_operation(START_FEN))
        file = BankFile.decode(await world.gateway.daily_file(world.bank, DAY))
        assert (file.bank, file.business_date, file.currency) == ("icbc", DAY, "CNY")
        assert dict(zip(file.operations, file.states, strict=True)) == said
        assert (file.debit_total_fen, file.credit_total_fen) == (100, 0)
