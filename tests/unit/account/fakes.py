"""The ledger in memory, written by hand: one transaction at a time, a commit swaps the whole state."""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import numpy as np

from libs.errors import RequestIdReused
from libs.runtime.requests import RequestKey
from services.account.application.ports import LockedPurses
from services.account.domain.accounts import Account, AccountChange
from services.account.domain.batch import FoldedPurses, IssuedCards, Movements, PostedBatch
from services.account.domain.book import GENESIS, Entry, Journal, Posting, chain_hash, journal_bytes
from services.account.domain.chart import Chart
from services.account.domain.columns import I64, Bools, KeyColumns
from services.account.domain.errors import AccountUnknown, PurseUnknown, ReservationUnknown
from services.account.domain.events import LedgerEvent
from services.account.domain.proof import Proof
from services.account.domain.purse import Purse, PurseChange, PurseKey
from services.account.domain.reservation import Reservation, ReservationState


@dataclass
class State:
    claims: dict[tuple[str, str, str], tuple[bytes, Any]] = field(default_factory=dict)
    events: list[LedgerEvent] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    # A purse's short key is its position, from 1.
    purses: list[Purse] = field(default_factory=list)
    openings: dict[int, int] = field(default_factory=dict)
    movements: list[tuple[int, int, int]] = field(default_factory=list)
    batches: dict[str, int] = field(default_factory=dict)
    journals: list[tuple[Journal, bytes]] = field(default_factory=list)
    reservations: dict[UUID, Reservation] = field(default_factory=dict)


class FakeRequests:
    def __init__(self, state: State) -> None:
        self._claims = state.claims

    async def claim(self, key: RequestKey) -> bool:
        place = (key.caller, key.method, key.request_id)
        if place not in self._claims:
            self._claims[place] = (key.digest, None)
            return True
        if self._claims[place][0] != key.digest:
            raise RequestIdReused(request_id=key.request_id)
        return False

    async def first_answer(self, key: RequestKey, cls: type[Any]) -> Any:
        answer = self._claims[(key.caller, key.method, key.request_id)][1]
        assert isinstance(answer, cls)
        return answer

    async def answer(self, key: RequestKey, value: object) -> None:
        self._claims[(key.caller, key.method, key.request_id)] = (key.digest, value)


class FakeEvents:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, events: Sequence[LedgerEvent]) -> None:
        self._state.events.extend(events)


class FakeAccounts:
    def __init__(self, state: State, chart: Chart) -> None:
        self._accounts = state.accounts
        self._chart = chart

    async def get(self, name: str) -> Account:
        if name not in self._accounts:
            raise AccountUnknown(account=name)
        return self._accounts[name]

    async def list_page(
        self, after: str, limit: int, chart_numbers: Collection[str] | None = None, owner: str | None = None
    ) -> list[Account]:
        found = [
            account
            for name, account in sorted(self._accounts.items())
            if name > after
            and (chart_numbers is None or account.chart_number in chart_numbers)
            and (owner is None or account.owner == owner)
        ]
        return found[:limit]

    async def lock(self, names: Collection[str], now: datetime) -> dict[str, Account]:
        for name in names:
            self._accounts.setdefault(name, Account(name, self._chart.line(name).kind, now))
        return {name: self._accounts[name] for name in names}

    async def change(self, changes: Sequence[AccountChange]) -> None:
        for change in changes:
            old = self._accounts[change.name]
            new = replace(
                old,
                debits_fen=old.debits_fen + change.debits_fen,
                credits_fen=old.credits_fen + change.credits_fen,
                pending_debits_fen=old.pending_debits_fen + change.pending_debits_fen,
                pending_credits_fen=old.pending_credits_fen + change.pending_credits_fen,
            )
            assert min(new.pending_debits_fen, new.pending_credits_fen) >= 0
            self._accounts[change.name] = new

    async def set_limit(self, name: str, balance_limit_fen: int) -> None:
        self._accounts[name] = replace(self._accounts[name], balance_limit_fen=balance_limit_fen)


class FakePurses:
    def __init__(self, state: State) -> None:
        self._state = state

    def _find(self, key: PurseKey) -> int:
        return next((n for n, purse in enumerate(self._state.purses, 1) if purse.key == key), 0)

    def _update(self, purse_id: int, **values: Any) -> None:
        self._state.purses[purse_id - 1] = replace(self._state.purses[purse_id - 1], **values)

    async def get(self, key: PurseKey) -> Purse:
        found = self._find(key)
        if not found:
            raise PurseUnknown(purse=key.name)
        return self._state.purses[found - 1]

    async def lock(self, keys: Sequence[PurseKey]) -> None:
        assert list(keys) == sorted(keys), "the order of locks"
        for key in keys:
            await self.get(key)

    async def change(self, changes: Sequence[PurseChange]) -> None:
        for change in changes:
            purse = await self.get(change.key)
            self._update(
                self._find(change.key),
                loads_fen=purse.loads_fen + change.loads_fen,
                corrections_debit_fen=purse.corrections_debit_fen + change.corrections_debit_fen,
                corrections_credit_fen=purse.corrections_credit_fen + change.corrections_credit_fen,
                pending_loads_fen=purse.pending_loads_fen + change.pending_loads_fen,
                pending_debits_fen=purse.pending_debits_fen + change.pending_debits_fen,
            )

    async def lock_columns(self, keys: KeyColumns) -> LockedPurses:
        wanted = [keys.key(row) for row in range(len(keys))]
        assert wanted == sorted(set(wanted)), "the order of locks, each once"
        for key in wanted:
            if not self._find(key):
                self._state.purses.append(Purse(key))
        ids = [self._find(key) for key in wanted]
        highest = [self._state.purses[purse_id - 1].counter_max for purse_id in ids]
        return LockedPurses(np.array(ids, dtype=np.int64), np.array(highest, dtype=np.int64))

    async def seen(self, purse_ids: I64, counters: I64) -> Bools:
        known = {(purse_id, counter) for purse_id, counter, _ in self._state.movements}
        pairs = zip(purse_ids.tolist(), counters.tolist(), strict=True)
        return np.array([pair in known for pair in pairs], dtype=np.bool_)

    async def fold(self, locked: LockedPurses, folded: FoldedPurses) -> None:
        for row, purse_id in enumerate(locked.purse_ids.tolist()):
            purse = self._state.purses[purse_id - 1]
            self._update(
                purse_id,
                debits_fen=purse.debits_fen + int(folded.debits_fen[row]),
                counter_count=purse.counter_count + int(folded.counter_count[row]),
            )
            if folded.counter_max[row] > purse.counter_max:
                self._update(
                    purse_id,
                    counter_max=int(folded.counter_max[row]),
                    printed_balance_fen=int(folded.printed_balance_fen[row]),
                    last_time=datetime.fromtimestamp(int(folded.times_s[row]), UTC),
                )

    async def add_movements(self, batch_number: int, purse_ids: I64, movements: Movements) -> None:
        rows = zip(purse_ids.tolist(), movements.counters.tolist(), movements.amounts_fen.tolist(), strict=True)
        self._state.movements.extend(rows)

    async def unopened(self, locked: LockedPurses) -> Bools:
        return np.array(
            [purse_id not in self._state.openings for purse_id in locked.purse_ids.tolist()], dtype=np.bool_
        )

    async def open(self, locked: LockedPurses, cards: IssuedCards, journal: UUID | None) -> None:
        for purse_id, opening in zip(locked.purse_ids.tolist(), cards.openings_fen.tolist(), strict=True):
            assert purse_id not in self._state.openings
            self._state.openings[purse_id] = opening
            self._update(purse_id, opening_fen=self._state.purses[purse_id - 1].opening_fen + opening)


class FakeBatches:
    def __init__(self, state: State) -> None:
        self._batches = state.batches

    async def claim(self, batch: PostedBatch, journal: UUID | None, now: datetime) -> int | None:
        if batch.batch_id in self._batches:
            return None
        self._batches[batch.batch_id] = len(self._batches) + 1
        return self._batches[batch.batch_id]


class FakeJournals:
    def __init__(self, state: State) -> None:
        self._journals = state.journals

    async def post(self, journal_id: UUID, posting: Posting, post_time: datetime) -> Journal:
        journal = Journal(journal_id, posting, post_time, len(self._journals) + 1)
        previous = self._journals[-1][1] if self._journals else GENESIS
        seal = chain_hash(previous, journal.sequence, journal_bytes(journal_id, posting, post_time))
        self._journals.append((journal, seal))
        return journal

    async def posted(self, event: str, reference: str) -> bool:
        return any((j.posting.event, j.posting.reference) == (event, reference) for j, _ in self._journals)

    async def list_entries(self, account: str, after: tuple[int, int], limit: int) -> list[Entry]:
        found = [
            Entry(j.id, j.posting.event, j.posting.reference, leg, j.posting.event_time, j.sequence, number)
            for j, _ in self._journals
            for number, leg in enumerate(j.posting.legs, 1)
            if leg.account == account and (j.sequence, number) > after
        ]
        return found[:limit]


class FakeReservations:
    def __init__(self, state: State) -> None:
        self._reservations = state.reservations

    async def add(self, reservation: Reservation) -> None:
        if reservation.id in self._reservations:
            raise RequestIdReused(request_id=reservation.id)
        self._reservations[reservation.id] = reservation

    async def get(self, reservation_id: UUID) -> Reservation:
        if reservation_id not in self._reservations:
            raise ReservationUnknown(reservation=reservation_id)
        return self._reservations[reservation_id]

    get_for_update = get

    async def resolve(self, reservation: Reservation, now: datetime) -> None:
        assert self._reservations[reservation.id].state is ReservationState.PENDING, "each ends once"
        self._reservations[reservation.id] = reservation

    async def due(self, now: datetime, limit: int) -> list[UUID]:
        overdue = [(r.expire_time, r.id) for r in self._reservations.values() if r.expire_time and r.overdue(now)]
        return [reservation_id for _, reservation_id in sorted(overdue)][:limit]


class FakeProofs:
    async def prove(self, clock_tolerance_s: float) -> Proof:
        raise AssertionError("what is proven is the database; there is nothing to prove in memory")


class FakeUnitOfWork:
    def __init__(self, books: "FakeBooks") -> None:
        self._books = books

    async def __aenter__(self) -> Self:
        self._state = copy.deepcopy(self._books.state)
        self.requests = FakeRequests(self._state)
        self.events = FakeEvents(self._state)
        self.accounts = FakeAccounts(self._state, self._books.chart)
        self.purses = FakePurses(self._state)
        self.batches = FakeBatches(self._state)
        self.journals = FakeJournals(self._state)
        self.reservations = FakeReservations(self._state)
        self.proofs = FakeProofs()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def commit(self) -> None:
        self._books.state = self._state


class FakeBooks:
    """A database in memory; calling it opens a transaction."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.state = State()

    def __call__(self) -> FakeUnitOfWork:
        return FakeUnitOfWork(self)
