"""The ledger in memory, written by hand: one transaction at a time, a commit swaps the whole state."""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import numpy as np

from libs.errors import RequestIdReused
from libs.runtime.requests import RequestKey
from services.account.application.ports import AnswersOf, LockedPurses, PostingGroup, Repeats
from services.account.domain.accounts import Account, AccountChange
from services.account.domain.batch import IssuedCards, Movements, PostedBatch
from services.account.domain.book import GENESIS, Entry, Journal, NewJournal, TimeAxis, chain_hash, journal_bytes
from services.account.domain.chart import Chart, Side
from services.account.domain.columns import I64, Bools, KeyColumns
from services.account.domain.errors import (
    AccountUnknown,
    ItemUnknown,
    JournalUnknown,
    PurseUnknown,
    ReservationUnknown,
)
from services.account.domain.events import LedgerEvent
from services.account.domain.folding import (
    Findings,
    FoldedPurses,
    ItemKind,
    ItemOutcome,
    PurseItem,
    Runs,
    unexplained_fen,
)
from services.account.domain.proof import Proof
from services.account.domain.purse import Purse, PurseChange, PurseKey
from services.account.domain.reservation import Reservation, ReservationState
from tests.unit.account.wallet_fakes import FakeWalletBooks, WalletsState


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
    journals: list[tuple[Journal, bytes, NewJournal]] = field(default_factory=list)
    items: list[PurseItem] = field(default_factory=list)
    reservations: dict[UUID, Reservation] = field(default_factory=dict)
    wallets: WalletsState = field(default_factory=WalletsState)


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


class FakeClaims:
    def __init__(self, state: State) -> None:
        self._claims = state.claims

    async def digests(self, keys: Sequence[RequestKey]) -> dict[RequestKey, bytes]:
        found = {key: self._claims.get((key.caller, key.method, key.request_id)) for key in keys}
        return {key: claim[0] for key, claim in found.items() if claim is not None}

    async def take(self, answers: Sequence[tuple[RequestKey, object]]) -> bool:
        if await self.digests([key for key, _ in answers]):
            return False
        for key, answer in answers:
            self._claims[(key.caller, key.method, key.request_id)] = (key.digest, answer)
        return True


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

    async def find(self, names: Collection[str]) -> dict[str, Account]:
        return {name: self._accounts[name] for name in names if name in self._accounts}

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
            line = self._chart.line(name)
            floor = 0 if line.floored else None
            self._accounts.setdefault(name, Account(name, line.kind, now, asset=line.asset, overdraft_fen=floor))
        return {name: self._accounts[name] for name in names}

    async def change(self, changes: Sequence[AccountChange]) -> None:
        for change in changes:
            new = self._accounts[change.name].changed(change)
            assert min(new.pending_debits_fen, new.pending_credits_fen) >= 0
            self._accounts[change.name] = new

    async def set_limits(self, name: str, balance_limit_fen: int, overdraft_fen: int | None) -> None:
        self._accounts[name] = replace(
            self._accounts[name], balance_limit_fen=balance_limit_fen, overdraft_fen=overdraft_fen
        )


class FakePurses:
    def __init__(self, state: State, chart: Chart) -> None:
        self._state = state
        self._chart = chart

    def _find(self, key: PurseKey) -> int:
        return next((n for n, purse in enumerate(self._state.purses, 1) if purse.key == key), 0)

    def _update(self, purse_id: int, **values: Any) -> None:
        self._state.purses[purse_id - 1] = replace(self._state.purses[purse_id - 1], **values)

    async def get(self, key: PurseKey) -> Purse:
        found = self._find(key)
        if not found:
            raise PurseUnknown(purse=key.name)
        return self._state.purses[found - 1]

    async def lock(self, keys: Sequence[PurseKey]) -> set[PurseKey]:
        assert list(keys) == sorted(keys), "the order of locks"
        return {key for key in keys if self._find(key)}

    async def ids(self, keys: Sequence[PurseKey]) -> I64:
        return np.array([self._find(key) for key in keys], dtype=np.int64)

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
                last_load_time=max(
                    (at for at in (purse.last_load_time, change.load_time) if at is not None), default=None
                ),
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

    async def fold_runs(self, keys: KeyColumns, found: Runs, tolerance_s: float) -> tuple[I64, I64]:
        ids = np.zeros(len(keys), dtype=np.int64)
        for row in range(len(keys)):
            purse_id = self._find(keys.key(row))
            if not (purse_id and found.unbroken[row]):
                continue
            purse = self._state.purses[purse_id - 1]
            if purse.counter_max + 1 != found.counter_from[row]:
                continue
            ids[row] = purse_id
            self._update(
                purse_id,
                debits_fen=purse.debits_fen + int(found.debits_fen[row]),
                counter_count=purse.counter_count + int(found.counter_count[row]),
                counter_max=int(found.counter_from[row] + found.counter_count[row] - 1),
                printed_balance_fen=int(found.printed_balance_fen[row]),
                last_time=datetime.fromtimestamp(int(found.times_s[row]), UTC),
            )
        return ids, ids[ids > 0]

    async def seen(self, purse_ids: I64, counters: I64) -> Bools:
        known = {(purse_id, counter) for purse_id, counter, _ in self._state.movements}
        pairs = zip(purse_ids.tolist(), counters.tolist(), strict=True)
        return np.array([pair in known for pair in pairs], dtype=np.bool_)

    async def fold(self, locked: LockedPurses, folded: FoldedPurses, tolerance_s: float) -> I64:
        for row, purse_id in enumerate(locked.purse_ids.tolist()):
            purse = self._state.purses[purse_id - 1]
            self._update(
                purse_id,
                debits_fen=purse.debits_fen + int(folded.debits_fen[row]),
                repeats_fen=purse.repeats_fen + int(folded.repeats_fen[row]),
                counter_count=purse.counter_count + int(folded.counter_count[row]),
            )
            if folded.counter_max[row] > purse.counter_max:
                self._update(
                    purse_id,
                    counter_max=int(folded.counter_max[row]),
                    printed_balance_fen=int(folded.printed_balance_fen[row]),
                    last_time=datetime.fromtimestamp(int(folded.times_s[row]), UTC),
                )
        return locked.purse_ids

    async def note_counters(
        self, batch_number: int, locked: LockedPurses, found: Findings, repeats: Repeats, now: datetime
    ) -> None:
        for position, counter in zip(found.late_positions.tolist(), found.late_counters.tolist(), strict=True):
            key = self._state.purses[int(locked.purse_ids[position]) - 1].key
            gap = next(
                item
                for item in self._state.items
                if item.key == key
                and item.kind is ItemKind.GAP
                and item.outcome is not ItemOutcome.FILLED
                and item.counter_from <= counter <= item.counter_to
            )
            self._end(gap, ItemOutcome.FILLED, now)
            for first, last in ((gap.counter_from, counter - 1), (counter + 1, gap.counter_to)):
                if first <= last:
                    number = len(self._state.items) + 1
                    self._state.items.append(replace(gap, id=number, counter_from=first, counter_to=last))
        for position, first, last in zip(
            found.gap_positions.tolist(), found.gap_from.tolist(), found.gap_to.tolist(), strict=True
        ):
            key = self._state.purses[int(locked.purse_ids[position]) - 1].key
            self._begin(key, ItemKind.GAP, first, last, 0, now)
        for purse_id, counter, amount in zip(
            repeats.purse_ids.tolist(), repeats.counters.tolist(), repeats.amounts_fen.tolist(), strict=True
        ):
            self._begin(self._state.purses[purse_id - 1].key, ItemKind.REPEAT, counter, counter, amount, now)

    async def compare(self, purse_ids: I64, tolerance_s: float, now: datetime, batch_number: int | None = None) -> int:
        count = 0
        for purse in (self._state.purses[purse_id - 1] for purse_id in purse_ids.tolist()):
            if purse.last_time is None or purse.gap_open or purse.pending_loads_fen:
                continue
            book = purse.opening_fen + purse.loads_fen - purse.debits_fen + purse.repeats_fen
            loads = sorted(
                (
                    (journal.posting.event_time, leg.amount_fen)
                    for journal, _, _ in self._state.journals
                    if journal.posting.event in self._chart.load_events
                    for leg in journal.posting.legs
                    if leg.purse == purse.key and leg.side is Side.CREDIT
                ),
                reverse=True,
            )
            amount = unexplained_fen(
                book - purse.printed_balance_fen, purse.last_time, loads, timedelta(seconds=tolerance_s)
            )
            mine = [item for item in self._state.items if item.key == purse.key and item.kind is ItemKind.BALANCE]
            is_open = [item for item in mine if item.outcome is None]
            count += bool(amount)
            if not amount:
                for item in is_open:
                    self._end(item, ItemOutcome.EXPLAINED, now)
            elif is_open:
                place = self._state.items.index(is_open[0])
                self._state.items[place] = replace(
                    is_open[0], amount_fen=amount, counter_from=purse.counter_max, counter_to=purse.counter_max
                )
            elif not any(item.outcome is ItemOutcome.DECIDED and item.amount_fen == amount for item in mine):
                self._begin(purse.key, ItemKind.BALANCE, purse.counter_max, purse.counter_max, amount, now)
        return count

    def _begin(self, key: PurseKey, kind: ItemKind, first: int, last: int, amount: int, at: datetime) -> None:
        number = len(self._state.items) + 1
        self._state.items.append(PurseItem(number, key, kind, first, last, amount, at, None, None, ""))

    def _end(self, item: PurseItem, outcome: ItemOutcome, now: datetime, note: str = "") -> None:
        place = self._state.items.index(item)
        self._state.items[place] = replace(item, close_time=now, outcome=outcome, note=note)

    async def list_items(
        self, after: int, limit: int, open_only: bool, kind: ItemKind | None, key: PurseKey | None
    ) -> list[PurseItem]:
        found = [
            item
            for item in self._state.items
            if item.id > after
            and (not open_only or item.outcome is None)
            and (kind is None or item.kind is kind)
            and (key is None or item.key == key)
        ]
        return found[:limit]

    async def get_item(self, item_id: int) -> PurseItem:
        if not 0 < item_id <= len(self._state.items):
            raise ItemUnknown(item=item_id)
        return self._state.items[item_id - 1]

    async def close_item(self, item_id: int, note: str, now: datetime) -> None:
        self._end(await self.get_item(item_id), ItemOutcome.DECIDED, now, note)

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

    async def claim(self, batch: PostedBatch, journal: UUID | None, detail: bytes, now: datetime) -> int | None:
        if batch.batch_id in self._batches:
            return None
        self._batches[batch.batch_id] = len(self._batches) + 1
        return self._batches[batch.batch_id]


class FakeJournals:
    def __init__(self, state: State) -> None:
        self._journals = state.journals

    async def post(self, journals: Sequence[NewJournal], now: datetime) -> list[Journal]:
        written = []
        for new in journals:
            last = self._journals[-1] if self._journals else None
            post_time = now if last is None else max(now, last[0].post_time)
            journal = Journal(new.id, new.posting, post_time, len(self._journals) + 1)
            body = journal_bytes(new.id, new.posting, post_time, new.detail)
            seal = chain_hash(last[1] if last else GENESIS, journal.sequence, body)
            self._journals.append((journal, seal, new))
            written.append(journal)
        return written

    async def posted(self, event: str, reference: str) -> bool:
        return any((j.posting.event, j.posting.reference) == (event, reference) for j, _, _ in self._journals)

    async def get(self, which: UUID | int) -> Journal:
        for journal, _, _ in self._journals:
            if which in (journal.id, journal.sequence):
                return journal
        raise JournalUnknown(journal=which)

    async def list_page(self, after: int, limit: int, reference: str) -> list[Journal]:
        found = [j for j, _, _ in self._journals if j.sequence > after]
        return [j for j in found if not reference or j.posting.reference == reference][:limit]

    async def sums_as_of(self, account: str, at: datetime, axis: TimeAxis) -> tuple[int, int]:
        legs = [
            leg
            for journal, _, _ in self._journals
            if (journal.post_time if axis is TimeAxis.POST_TIME else journal.posting.event_time) <= at
            for leg in journal.posting.legs
            if leg.account == account
        ]
        sums = {side: sum(leg.amount_fen for leg in legs if leg.side is side) for side in Side}
        return sums[Side.DEBIT], sums[Side.CREDIT]

    async def list_entries(self, account: str, after: tuple[int, int], limit: int) -> list[Entry]:
        found = [
            Entry(
                j.id,
                j.posting.event,
                j.posting.reference,
                leg,
                j.posting.event_time,
                j.sequence,
                number,
                j.post_time,
                *new.after[account],
            )
            for j, _, new in self._journals
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


class FakePostings:
    def __init__(self, uow: "FakeUnitOfWork") -> None:
        self._uow = uow

    async def lock(
        self, purses: Sequence[PurseKey], names: Collection[str], now: datetime
    ) -> tuple[set[PurseKey], dict[str, Account]]:
        known = await self._uow.purses.lock(purses) if purses else set()
        return known, await self._uow.accounts.lock(names, now)

    async def commit(self, group: PostingGroup, now: datetime, answers_of: AnswersOf) -> list[Journal] | None:
        if group.purse_changes:
            await self._uow.purses.change(group.purse_changes)
        await self._uow.accounts.change(group.account_changes)
        written = await self._uow.journals.post(group.journals, now)
        if not await self._uow.claims.take(answers_of(written)):
            return None
        await self._uow.commit()
        return written


class FakeUnitOfWork:
    def __init__(self, books: "FakeBooks") -> None:
        self._books = books

    async def __aenter__(self) -> Self:
        self._state = copy.deepcopy(self._books.state)
        self.requests = FakeRequests(self._state)
        self.claims = FakeClaims(self._state)
        self.events = FakeEvents(self._state)
        self.accounts = FakeAccounts(self._state, self._books.chart)
        self.purses = FakePurses(self._state, self._books.chart)
        self.batches = FakeBatches(self._state)
        self.journals = FakeJournals(self._state)
        self.reservations = FakeReservations(self._state)
        self.proofs = FakeProofs()
        self.postings = FakePostings(self)
        self.wallet_books = FakeWalletBooks(self._state.wallets, self._state.accounts)
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
