"""The ledger against a small dictionary: random operations, alone and eight at once, over overlapping accounts."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from libs.errors import DomainError
from services.account.domain.accounts import Account
from services.account.domain.book import Leg, Posting, TimeAxis
from services.account.domain.chart import AccountKind, Side
from services.account.domain.errors import AccountUnknown, InsufficientBalance, LimitExceeded
from services.account.domain.reservation import ReservationState
from tests.unit.account.builders import a_batch, a_key, a_load, a_posting, a_request, credit, debit, issued
from tests.unit.account.suites import Ledger

# Wallets with a floor, one outlet with a limit, accounts that take anything; points beside money.
WALLETS = ("2211.jt-1", "2211.jt-2", "2211.jt-3")
MONEY = (*WALLETS, "1221.limited", "1002", "2203.metro", "2203.bus")
POINTS = ("3001.mall", "3002.jt-1", "3002.jt-2")
LIMIT_FEN = 400
OVERDRAFT_FEN = 50
KEYS = tuple(a_key(number) for number in (1, 2, 3))


@dataclass
class Sums:
    """What the dictionary knows of an account."""

    debits: int = 0
    credits: int = 0
    pending_debits: int = 0
    pending_credits: int = 0


@dataclass
class Model:
    """The whole ledger as dictionaries and lists."""

    accounts: dict[str, Sums] = field(default_factory=dict)
    posted: list[tuple[datetime, datetime, tuple[Leg, ...]]] = field(default_factory=list)
    purses: dict[str, int] = field(default_factory=dict)

    def post(self, posting: Posting, at: datetime) -> None:
        self._add(posting.legs, "debits", "credits", 1)
        self.posted.append((at, posting.event_time, posting.legs))
        for leg in posting.legs:
            if leg.purse is not None:
                sign = 1 if leg.side is Side.CREDIT else -1
                self.purses[leg.purse.name] = self.purses.get(leg.purse.name, 0) + sign * leg.amount_fen

    def hold(self, posting: Posting) -> None:
        self._add(posting.legs, "pending_debits", "pending_credits", 1)

    def release(self, posting: Posting) -> None:
        self._add(posting.legs, "pending_debits", "pending_credits", -1)

    def _add(self, legs: tuple[Leg, ...], debit_field: str, credit_field: str, sign: int) -> None:
        for leg in legs:
            sums = self.accounts.setdefault(leg.account, Sums())
            name = debit_field if leg.side is Side.DEBIT else credit_field
            setattr(sums, name, getattr(sums, name) + sign * leg.amount_fen)

    def refusal(self, posting: Posting, *, held: bool) -> type[DomainError] | None:
        """What the ledger must say of a posting that comes alone, worked out from single figures."""
        grows: dict[str, int] = {}
        for leg in posting.legs:
            asset = leg.account[0] == "1" or leg.account == "3001.mall"
            sign = 1 if (leg.side is Side.DEBIT) == asset else -1
            grows.setdefault(leg.account, 0)
            if held and leg.account in WALLETS + POINTS[1:]:
                # Nothing that is only held brings anything.
                grows[leg.account] += min(sign, 0) * leg.amount_fen
            elif held:
                grows[leg.account] += max(sign, 0) * leg.amount_fen
            else:
                grows[leg.account] += sign * leg.amount_fen
        for name in sorted(grows):
            if name in WALLETS + POINTS[1:] and grows[name] < 0:
                sums = self.accounts.get(name, Sums())
                floor = -OVERDRAFT_FEN if name == WALLETS[0] else 0
                if sums.credits - sums.debits - sums.pending_debits + grows[name] < floor:
                    return InsufficientBalance
        limited = self.accounts.get("1221.limited", Sums())
        more = grows.get("1221.limited", 0)
        if more > 0 and limited.debits - limited.credits + limited.pending_debits + more > LIMIT_FEN:
            return LimitExceeded
        return None


@st.composite
def transfers(draw: st.DrawFn) -> Posting:
    """Money from one account to another, with or without points beside it."""
    first, second = draw(st.lists(st.sampled_from(MONEY), min_size=2, max_size=2, unique=True))
    amount = draw(st.integers(1, 300))
    legs = [debit(first, amount), credit(second, amount)]
    if draw(st.booleans()):
        giver, taker = draw(st.lists(st.sampled_from(POINTS), min_size=2, max_size=2, unique=True))
        points = draw(st.integers(1, 20))
        legs += [debit(giver, points), credit(taker, points)]
    return a_posting(*legs, at=draw(st.sampled_from((EARLY, EARLY + timedelta(hours=30)))))


EARLY = datetime.fromisoformat("2018-08-30T10:00:00+08:00")


class LedgerMachine(RuleBasedStateMachine):
    """Subclasses bring the ledger."""

    held = Bundle("held")
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.counters = dict.fromkeys(KEYS, 0)
        self.moments: list[datetime] = []
        self.ledger = self.run(self.make_ledger())

    async def make_ledger(self) -> Ledger:
        raise NotImplementedError

    async def leave(self) -> None:
        """Give back what the ledger needed."""

    def run(self, call: Awaitable[object]) -> object:
        async def wait() -> object:
            return await call

        return self.runner.run(wait())

    def teardown(self) -> None:
        self.run(self.leave())
        self.runner.close()

    @initialize()
    def open(self) -> None:
        self.run(self.ledger.open_account("1221.limited", LIMIT_FEN, a_request()))
        self.run(self.ledger.open_account(WALLETS[0], 0, a_request(), OVERDRAFT_FEN))
        self.model.accounts |= {"1221.limited": Sums(), WALLETS[0]: Sums()}
        self.run(self.ledger.issue(issued(*KEYS, opening_fen=1000)))
        opening = (debit("1221.north", 3000), credit("2201", 3000))
        self.model.post(a_posting(*opening, event="cards_issued"), self.ledger.clock.now())
        self.model.purses |= {key.name: 1000 for key in KEYS}

    def attempt(self, call: Callable[[], Awaitable[object]]) -> object:
        try:
            return self.run(call())
        except DomainError as refusal:
            return refusal

    @rule(posting=transfers(), target=requests)
    def post(self, posting: Posting) -> tuple[object, Posting]:
        request = a_request(content=str(posting))
        expected = self.model.refusal(posting, held=False)
        answer = self.attempt(lambda: self.ledger.post_journal(posting, request))
        assert (type(answer) if isinstance(answer, DomainError) else None) is expected
        if expected is None:
            self.model.post(posting, self.ledger.clock.now())
        return (request, posting) if expected is None else (None, posting)

    @rule(past=requests)
    def repeat(self, past: tuple[object, Posting]) -> None:
        request, posting = past
        if request is not None:
            self.run(self.ledger.post_journal(posting, request))

    @rule(first=transfers(), second=transfers())
    def post_linked(self, first: Posting, second: Posting) -> None:
        answer = self.attempt(lambda: self.ledger.post_linked_journals([first, second], a_request()))
        if isinstance(answer, DomainError):
            assert isinstance(answer, (InsufficientBalance, LimitExceeded))
            return
        assert self.model.refusal(first, held=False) is None
        self.model.post(first, self.ledger.clock.now())
        assert self.model.refusal(second, held=False) is None
        self.model.post(second, self.ledger.clock.now())

    @rule(posting=transfers(), seconds=st.sampled_from((None, 60)), target=held)
    def hold(self, posting: Posting, seconds: float | None) -> uuid.UUID | None:
        expected = self.model.refusal(posting, held=True)
        answer = self.attempt(lambda: self.ledger.hold(posting, seconds))
        assert (type(answer) if isinstance(answer, DomainError) else None) is expected
        if expected is not None:
            return None
        self.model.hold(posting)
        return answer.id  # type: ignore[attr-defined]  # what is no refusal is a reservation

    @rule(which=consumes(held), share=st.sampled_from((1, 2)))
    def commit(self, which: uuid.UUID | None, share: int) -> None:
        if which is None:
            return
        found = self.run(self.ledger.reservation(which))
        posting: Posting = found.posting  # type: ignore[attr-defined]
        amounts = [leg.amount_fen // share for leg in posting.legs] if share > 1 else []
        answer = self.attempt(lambda: self.ledger.commit_reservation(which, amounts))
        if isinstance(answer, DomainError):
            # Its time ran out, or half of one is nothing; it stays what it was.
            ended = found.overdue(self.ledger.clock.now()) or found.state is not ReservationState.PENDING  # type: ignore[attr-defined]
            assert ended or 0 in amounts
            if not ended:
                self.run(self.ledger.void_reservation(which))
                self.model.release(posting)
            elif found.state is ReservationState.PENDING:  # type: ignore[attr-defined]
                self.sweep(0)
            return
        self.model.release(posting)
        self.model.post(posting.part(amounts) if amounts else posting, self.ledger.clock.now())

    @rule(which=consumes(held))
    def void(self, which: uuid.UUID | None) -> None:
        if which is None:
            return
        found = self.run(self.ledger.reservation(which))
        if found.state is ReservationState.PENDING:  # type: ignore[attr-defined]
            self.model.release(found.posting)  # type: ignore[attr-defined]
        self.run(self.ledger.void_reservation(which))

    @rule(seconds=st.sampled_from((0, 45)))
    def sweep(self, seconds: float) -> None:
        self.moments.append(self.ledger.clock.now())
        self.ledger.clock.advance(seconds=seconds)
        due = self.run(self._due())
        for posting in due:  # type: ignore[attr-defined]
            self.model.release(posting)
        self.run(self.ledger.expiry.sweep())

    async def _due(self) -> list[Posting]:
        async with self.ledger.transaction() as uow:
            ids = await uow.reservations.due(self.ledger.clock.now(), 100)
            return [(await uow.reservations.get(one)).posting for one in ids]

    @rule(key=st.sampled_from(KEYS), amount=st.integers(1, 50))
    def ride(self, key: object, amount: int) -> None:
        assert isinstance(key, type(KEYS[0]))
        batch = a_batch((key, self.counters[key], amount, 1000))
        self.counters[key] += 1
        for _ in range(2):
            self.run(self.ledger.fold(batch))
        legs = (debit("2201", amount, key), credit("2203.metro", amount))
        self.model.post(a_posting(*legs, at=batch.post_time), self.ledger.clock.now())

    @rule(key=st.sampled_from(KEYS), amount=st.integers(1, 50))
    def load(self, key: object, amount: int) -> None:
        assert isinstance(key, type(KEYS[0]))
        posting = a_load(key, amount)
        self.run(self.ledger.post(posting))
        self.model.post(posting, self.ledger.clock.now())

    @rule(postings=st.lists(transfers(), min_size=8, max_size=8), doubled=st.booleans())
    def eight_at_once(self, postings: list[Posting], doubled: bool) -> None:
        """Whoever is refused must be refused for a reason; whoever is accepted has its whole effect, once."""
        requests = [a_request(content=str(posting)) for posting in postings]

        async def all_of_them() -> list[object]:
            calls = [
                self.ledger.post_journal(posting, request) for posting, request in zip(postings, requests, strict=True)
            ]
            if doubled:
                calls += [self.ledger.post_journal(postings[0], requests[0])]
            return list(await asyncio.gather(*calls, return_exceptions=True))

        outcomes = self.run(all_of_them())
        assert isinstance(outcomes, list)
        if doubled:
            again = outcomes.pop()
            if isinstance(outcomes[0], DomainError):
                # A refused request may come again, and find more than the first time.
                outcomes[0] = again
            else:
                assert again == outcomes[0], "one request, one answer"
        for posting, outcome in zip(postings, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, (InsufficientBalance, LimitExceeded)), outcome
            else:
                self.model.post(posting, self.ledger.clock.now())

    @invariant()
    def the_books_are_those_of_the_dictionary(self) -> None:
        for name, sums in self.model.accounts.items():
            account = self.run(self._account(name))
            assert isinstance(account, Account), name
            found = Sums(
                account.debits_fen, account.credits_fen, account.pending_debits_fen, account.pending_credits_fen
            )
            assert found == sums, name
            if account.overdraft_fen is not None:
                assert account.balance_fen - account.held_fen >= -account.overdraft_fen
            if account.balance_limit_fen:
                assert account.committed_fen <= account.balance_limit_fen

    async def _account(self, name: str) -> Account | None:
        try:
            return await self.ledger.account(name)
        except AccountUnknown:
            return None

    @invariant()
    def money_and_points_are_conserved(self) -> None:
        for points in (False, True):
            mine = [sums for name, sums in self.model.accounts.items() if (name[0] == "3") is points]
            assert sum(sums.debits for sums in mine) == sum(sums.credits for sums in mine)

    @rule(axis=st.sampled_from(TimeAxis), name=st.sampled_from((*MONEY, *POINTS)))
    def a_balance_of_the_past_equals_the_replay(self, axis: TimeAxis, name: str) -> None:
        if name not in self.model.accounts:
            return
        at = self.moments[len(self.moments) // 2] if self.moments else self.ledger.clock.now()
        balance = self.run(self.ledger.get_balance(name, at, axis))
        assert isinstance(balance, Account)
        legs = [
            leg
            for post_time, event_time, legs in self.model.posted
            if (post_time if axis is TimeAxis.POST_TIME else event_time) <= at
            for leg in legs
            if leg.account == name
        ]
        assert balance.debits_fen == sum(leg.amount_fen for leg in legs if leg.side is Side.DEBIT)
        assert balance.credits_fen == sum(leg.amount_fen for leg in legs if leg.side is Side.CREDIT)
        assert AccountKind(balance.kind).grows_by_debits == (name[0] == "1" or name == "3001.mall")

    def check_purses(self) -> None:
        for key in KEYS:
            purse = self.run(self.ledger.purse(key))
            assert purse.balance_fen == self.model.purses[key.name]  # type: ignore[attr-defined]
