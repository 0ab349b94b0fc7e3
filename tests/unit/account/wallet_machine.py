"""Wallets against a small dictionary: random operations, alone and eight at once, over overlapping wallets and lots."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from libs.errors import DomainError
from services.account.application.wallet_planning import city_day
from services.account.domain.wallet_debits import DebitState, WalletDebit
from services.account.domain.wallet_errors import (
    DebitNotReversible,
    ReversalAboveDebit,
    TenderShort,
    WalletInsufficient,
    WalletLimitExceeded,
)
from services.account.domain.wallet_plan import Purchase, TenderWish
from services.account.domain.wallet_rules import Limits
from tests.unit.account.builders import a_request
from tests.unit.account.wallet_move_suites import PENDING
from tests.unit.account.wallet_suites import MINE, ONLINE, POINTS, Wallets

T = TypeVar("T")
SUBSIDY = f"subsidy.{MINE}"
ALL = (ONLINE, POINTS, SUBSIDY, PENDING)
# Per wallet and day, in the unit of each; 0: none.
LIMITS = {ONLINE: 400, POINTS: 150, SUBSIDY: 0}
PURPOSES = ("transit", "meals")


@dataclass
class Part:
    """A lot as the dictionary knows it; a wallet without lots has one that never ends."""

    id: int
    left: int
    until: datetime | None = None
    purposes: tuple[str, ...] = ()
    held: int = 0

    def free_for(self, purpose: str, now: datetime) -> int:
        usable = (self.until is None or now < self.until) and (not self.purposes or purpose in self.purposes)
        return self.left - self.held if usable else 0


@dataclass
class Taken:
    """What a debit took: of which part how much, in order."""

    day: date
    held: bool
    parts: list[tuple[str, int, int]]


@dataclass
class Model:
    """All wallets as dictionaries and lists."""

    parts: dict[str, list[Part]] = field(default_factory=dict)
    debits: dict[uuid.UUID, Taken] = field(default_factory=dict)

    def used(self, wallet: str, day: date) -> int:
        return sum(
            amount
            for taken in self.debits.values()
            if taken.day == day
            for name, _, amount in taken.parts
            if name == wallet
        )

    def available(self, wallet: str, purpose: str, now: datetime) -> int:
        return sum(part.free_for(purpose, now) for part in self.parts[wallet])

    def room(self, wallet: str, day: date) -> int:
        return LIMITS[wallet] - self.used(wallet, day) if LIMITS[wallet] else 10**9

    def order(self, wallet: str, purpose: str, now: datetime) -> list[Part]:
        usable = [part for part in self.parts[wallet] if part.free_for(purpose, now)]
        if wallet == SUBSIDY:
            usable.sort(key=lambda part: (part.until is None, part.until, part.id))
        return usable

    def choose(self, wallet: str, amount: int, purpose: str, now: datetime) -> list[tuple[str, int, int]]:
        chosen = []
        for part in self.order(wallet, purpose, now):
            share = min(amount, part.free_for(purpose, now))
            if share:
                chosen.append((wallet, part.id, share))
            amount -= share
        return chosen

    def part(self, wallet: str, part_id: int) -> Part:
        return next(part for part in self.parts[wallet] if part.id == part_id)

    def take(self, debit_id: uuid.UUID, chosen: list[tuple[str, int, int]], day: date, *, held: bool) -> None:
        for wallet, part_id, amount in chosen:
            part = self.part(wallet, part_id)
            part.held += amount if held else 0
            part.left -= 0 if held else amount
        self.debits[debit_id] = Taken(day, held, chosen)

    def give_back(self, debit_id: uuid.UUID, amount: int) -> None:
        """The part taken last gets first."""
        taken = self.debits[debit_id]
        for place in reversed(range(len(taken.parts))):
            wallet, part_id, has = taken.parts[place]
            share = min(amount, has)
            part = self.part(wallet, part_id)
            part.held -= share if taken.held else 0
            part.left += 0 if taken.held else share
            taken.parts[place] = (wallet, part_id, has - share)
            amount -= share
        assert not amount

    def post(self, debit_id: uuid.UUID) -> None:
        taken = self.debits[debit_id]
        for wallet, part_id, amount in taken.parts:
            part = self.part(wallet, part_id)
            part.held -= amount
            part.left -= amount
        taken.held = False

    def left(self, debit_id: uuid.UUID) -> int:
        return sum(amount for _, _, amount in self.debits[debit_id].parts)


class WalletMachine(RuleBasedStateMachine):
    """Subclasses bring the wallets."""

    held = Bundle("held")
    paid = Bundle("paid")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.wallets = self.run(self.make_wallets())

    async def make_wallets(self) -> Wallets:
        raise NotImplementedError

    async def leave(self) -> None:
        """Give back what the wallets needed."""

    def run(self, call: Awaitable[T]) -> T:
        async def wait() -> T:
            return await call

        return self.runner.run(wait())

    def teardown(self) -> None:
        self.run(self.leave())
        self.runner.close()

    @property
    def now(self) -> datetime:
        return self.wallets.clock.now()

    @property
    def day(self) -> date:
        return city_day(self.now)

    @initialize()
    def open(self) -> None:
        for name in ALL:
            self.run(self.wallets.open(name))
            self.model.parts[name] = []
        self.model.parts[ONLINE] = [Part(0, 0)]
        for name, limit in LIMITS.items():
            self.run(self.wallets.grant(name.partition(".")[0], limits=Limits(per_day_fen=limit)))
        # Something to divide from the first step on: lots that end in another order than they came.
        self.fill(ONLINE, 250, 0)
        for amount, days in ((41, 0), (60, 2), (61, 1), (33, 2), (20, 0)):
            self.fill(SUBSIDY, amount, days)
            self.fill(POINTS, amount, days)

    @rule(name=st.sampled_from((ONLINE, POINTS, SUBSIDY)), amount=st.integers(1, 300), days=st.sampled_from((0, 1, 2)))
    def bring(self, name: str, amount: int, days: int) -> None:
        self.fill(name, amount, days)

    def fill(self, name: str, amount: int, days: int) -> None:
        if name == ONLINE:
            self.run(self.wallets.fill(name, amount))
            self.model.parts[name][0].left += amount
            return
        purposes = (PURPOSES[amount % 2],) if name == SUBSIDY else ()
        lot = self.run(self.wallets.fill(name, amount, days=days or None, purposes=purposes)).lot
        until = (self.run(self.wallets.list_lots(name, lot - 1, 1)))[0].valid_until
        assert (until is None) == (days == 0)
        self.model.parts[name].append(Part(lot, amount, until, purposes))

    def attempt(self, call: Callable[[], Awaitable[WalletDebit]]) -> WalletDebit | DomainError:
        try:
            return self.run(call())
        except DomainError as refusal:
            return refusal

    def compare(self, answer: WalletDebit, chosen: list[tuple[str, int, int]]) -> None:
        said = [
            (tender.wallet, lot, amount)
            for tender in answer.tenders
            for lot, amount in ([(one.lot_id, one.amount_fen) for one in tender.lots] or [(0, tender.amount_fen)])
        ]
        assert said == chosen

    def expect_one(self, name: str, amount: int, purpose: str) -> type[DomainError] | None:
        if self.model.room(name, self.day) < amount:
            return WalletLimitExceeded
        return WalletInsufficient if self.model.available(name, purpose, self.now) < amount else None

    @rule(
        name=st.sampled_from((ONLINE, POINTS, SUBSIDY)), amount=st.integers(1, 200), purpose=st.sampled_from(PURPOSES)
    )
    def pay_nothing_that_is_not_there(self, name: str, amount: int, purpose: str) -> None:
        expected = self.expect_one(name, amount, purpose)
        answer = self.attempt(lambda: self.wallets.pay(amount, name, purpose=purpose))
        assert (type(answer) if isinstance(answer, DomainError) else None) is expected
        if isinstance(answer, WalletDebit):
            chosen = self.model.choose(name, amount, purpose, self.now)
            self.compare(answer, chosen)
            self.model.take(answer.id, chosen, self.day, held=False)

    def split(self, amount: int, purpose: str) -> tuple[list[tuple[str, int, int]], bool]:
        first = min(amount, self.model.available(SUBSIDY, purpose, self.now))
        second = min(
            amount - first, self.model.available(ONLINE, purpose, self.now), max(self.model.room(ONLINE, self.day), 0)
        )
        chosen = self.model.choose(SUBSIDY, first, purpose, self.now)
        chosen += self.model.choose(ONLINE, second, purpose, self.now)
        return chosen, first + second == amount

    @rule(amount=st.integers(1, 400), purpose=st.sampled_from(PURPOSES), target=paid)
    def pay_out_of_two(self, amount: int, purpose: str) -> uuid.UUID | None:
        chosen, covered = self.split(amount, purpose)
        answer = self.attempt(lambda: self.wallets.pay(amount, SUBSIDY, ONLINE, purpose=purpose))
        if isinstance(answer, DomainError):
            assert isinstance(answer, TenderShort)
            assert not covered
            return None
        assert covered
        self.compare(answer, chosen)
        self.model.take(answer.id, chosen, self.day, held=False)
        return answer.id

    @rule(amount=st.integers(1, 300), purpose=st.sampled_from(PURPOSES), target=held)
    def hold_of_two(self, amount: int, purpose: str) -> uuid.UUID | None:
        chosen, covered = self.split(amount, purpose)
        answer = self.attempt(lambda: self.wallets.pay(amount, SUBSIDY, ONLINE, purpose=purpose, hold=True))
        if isinstance(answer, DomainError):
            assert isinstance(answer, TenderShort)
            assert not covered
            return None
        self.compare(answer, chosen)
        self.model.take(answer.id, chosen, self.day, held=True)
        return answer.id

    @rule(which=consumes(held), share=st.sampled_from((1, 2)), target=paid)
    def commit(self, which: uuid.UUID | None, share: int) -> uuid.UUID | None:
        if which is None:
            return None
        found = self.run(self.wallets.get_debit(which, None))
        amounts = [tender.amount_fen // share for tender in found.tenders]
        if not sum(amounts):
            self.run(self.wallets.ledger.void_reservation(which))
            self.model.give_back(which, self.model.left(which))
            return None
        self.run(self.wallets.ledger.commit_reservation(which, [amount for amount in amounts for _ in range(2)]))
        # What is not posted of a tender is released, of its lots the last first.
        taken, rest = self.model.debits[which], []
        for tender, amount in zip(found.tenders, amounts, strict=True):
            mine = [part for part in taken.parts if part[0] == tender.wallet]
            others = [part for part in taken.parts if part[0] != tender.wallet]
            taken.parts = mine
            self.model.give_back(which, tender.amount_fen - amount)
            rest = taken.parts
            taken.parts = others + rest
        self.model.post(which)
        return which

    @rule(which=consumes(held))
    def void(self, which: uuid.UUID | None) -> None:
        if which is not None:
            self.run(self.wallets.ledger.void_reservation(which))
            self.model.give_back(which, self.model.left(which))

    @rule(which=paid, amount=st.sampled_from((0, 1, 50)))
    def reverse(self, which: uuid.UUID | None, amount: int) -> None:
        if which is None:
            return
        left = self.model.left(which)
        answer = self.attempt(lambda: self.wallets.give_back(which, amount))
        if isinstance(answer, DomainError):
            assert isinstance(answer, (ReversalAboveDebit, DebitNotReversible))
            assert amount > left or not left
            return
        # Wallets in the order of bearing, so that what was borne last is given back first.
        order = [tender.wallet for tender in answer.tenders]
        self.model.debits[which].parts.sort(key=lambda part: order.index(part[0]))
        self.model.give_back(which, amount or left)
        assert answer.left_fen == self.model.left(which)

    @rule(amount=st.integers(1, 200), back=st.booleans())
    def move(self, amount: int, back: bool) -> None:
        source, target = (PENDING, ONLINE) if back else (ONLINE, PENDING)
        enough = self.model.available(source, "", self.now) >= amount
        answer = self.attempt(lambda: self.wallets.move_value(source, target, amount, "", a_request()))
        assert isinstance(answer, WalletInsufficient) == (not enough)
        if enough:
            for wallet, part_id, share in self.model.choose(source, amount, "", self.now):
                self.model.part(wallet, part_id).left -= share
            if back:
                self.model.parts[ONLINE][0].left += amount
            else:
                lots = self.run(self.wallets.list_lots(PENDING, 0, 1000))
                self.model.parts[PENDING].append(Part(lots[-1].id, amount))

    @rule(hours=st.sampled_from((0, 13)))
    def time_passes_and_lots_end(self, hours: int) -> None:
        self.wallets.clock.advance(hours=hours)
        self.run(self.wallets.expire_lots.sweep())
        for parts in self.model.parts.values():
            for part in parts:
                if part.until is not None and part.until <= self.now:
                    part.left = part.held

    @rule(amounts=st.lists(st.integers(1, 120), min_size=8, max_size=8), doubled=st.booleans())
    def eight_at_once(self, amounts: list[int], doubled: bool) -> None:
        """Whoever is accepted has its whole effect, once; the model takes what the answers say was taken."""
        names = [(POINTS, SUBSIDY, ONLINE)[place % 3] for place in range(8)]
        requests = [a_request(content=str(place)) for place in range(8)]
        purchases = [Purchase(amount, "meals", "bus") for amount in amounts]

        async def all_of_them() -> list[WalletDebit | BaseException]:
            calls = [
                self.wallets.debit_wallets(purchase, [TenderWish(name)], "many/1", request)
                for purchase, name, request in zip(purchases, names, requests, strict=True)
            ]
            if doubled:
                calls.append(self.wallets.debit_wallets(purchases[0], [TenderWish(names[0])], "many/1", requests[0]))
            return list(await asyncio.gather(*calls, return_exceptions=True))

        outcomes = self.run(all_of_them())
        if doubled:
            again = outcomes.pop()
            assert again == outcomes[0] or isinstance(outcomes[0], DomainError)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, (WalletInsufficient, WalletLimitExceeded)), outcome
                continue
            chosen = [
                (tender.wallet, lot, amount)
                for tender in outcome.tenders
                for lot, amount in ([(one.lot_id, one.amount_fen) for one in tender.lots] or [(0, tender.amount_fen)])
            ]
            self.model.take(outcome.id, chosen, self.day, held=False)

    @invariant()
    def wallets_are_those_of_the_dictionary(self) -> None:
        for name, parts in self.model.parts.items():
            view = self.run(self.wallets.get(name))
            assert view.balance_fen == sum(part.left for part in parts), name
            assert view.held_fen == sum(part.held for part in parts), name
            assert min((part.left - part.held for part in parts), default=0) >= 0, name
            lots = self.run(self.wallets.list_lots(name, 0, 1000))
            if name != ONLINE:
                assert [(lot.id, lot.balance_fen, lot.held_fen) for lot in lots] == [
                    (part.id, part.left, part.held) for part in parts
                ]
        for name, limit in LIMITS.items():
            assert not limit or self.model.used(name, self.day) <= limit

    @invariant()
    def debits_say_what_is_left_of_them(self) -> None:
        for debit_id in list(self.model.debits)[-3:]:
            found = self.run(self.wallets.get_debit(debit_id, None))
            assert found.left_fen == self.model.left(debit_id)
            assert (found.state is DebitState.HELD) == self.model.debits[debit_id].held or not found.left_fen
