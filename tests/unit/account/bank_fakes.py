"""Banks in memory: the bank itself, which may misbehave, and our side's rows."""

import copy
import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from types import TracebackType
from typing import Self
from uuid import UUID

from services.account.application.bank_ports import NumberedFlow
from services.account.domain.bank import Bank
from services.account.domain.bank_break import CENTRE, BankBreak, BreakKind, BreakOutcome, FileMatch
from services.account.domain.bank_errors import (
    BankFlowUnknown,
    BankOperationUnknown,
    BankSilent,
    BankUnknown,
    BreakUnknown,
)
from services.account.domain.bank_file import BankFile
from services.account.domain.bank_flow import BankFlow, FlowState
from services.account.domain.bank_leg import BankAnswer, BankLeg, BankState, Direction, Finding, LegState, Verb
from services.account.domain.chart import Chart
from tests.unit.account.fakes import FakeBooks, FakeUnitOfWork, State

AT = "2018-09-01T04:00:00Z"


@dataclass
class Operation:
    """What the fake bank has of an operation."""

    state: BankState
    direction: Direction | None = None
    token: str = ""
    amount_fen: int = 0
    business_date: date | None = None
    refusal: str = ""


@dataclass
class FakeBank:
    """One bank. Faults are taken in order, one per call; without one the bank is well.

    `lost`: nothing is done, nobody answers. `never`: done, nobody answers. A `BankAnswer`: done, and that is said.
    """

    participant: str = "icbc"
    balances: dict[str, int] = field(default_factory=lambda: {"alice": 100_000, "bob": 100_000})
    operations: dict[UUID, Operation] = field(default_factory=dict)
    faults: deque[str | BankAnswer] = field(default_factory=deque)
    calls: list[Verb] = field(default_factory=list)
    broken: bool = False

    def held_fen(self, token: str | None = None) -> int:
        return sum(
            one.amount_fen
            for one in self.operations.values()
            if one.state is BankState.HELD and one.direction is Direction.DEBIT and token in (None, one.token)
        )

    def captured_fen(self) -> int:
        """What it owes the platform: debits less credits that it booked."""
        signs = {Direction.DEBIT: 1, Direction.CREDIT: -1, None: 0}
        booked = (one for one in self.operations.values() if one.state is BankState.CAPTURED)
        return sum(signs[one.direction] * one.amount_fen for one in booked)

    async def ask(self, verb: Verb, leg: BankLeg) -> BankAnswer:
        self.calls.append(verb)
        if self.broken:
            raise BankSilent(bank=self.participant, why="UNAVAILABLE")
        fault = self.faults.popleft() if self.faults else ""
        if fault == "lost":
            raise BankSilent(bank=self.participant, why="DEADLINE_EXCEEDED")
        done = self._do(verb, leg)
        if fault == "never":
            raise BankSilent(bank=self.participant, why="DEADLINE_EXCEEDED")
        if isinstance(fault, BankAnswer):
            return fault
        reference = "" if done.state is BankState.UNKNOWN else f"{self.participant}-1"
        return BankAnswer(done.state, done.amount_fen, reference, done.refusal)

    def authorise(self, leg: BankLeg) -> Operation:
        if leg.operation not in self.operations:
            free = self.balances.get(leg.account_token, -1) - self.held_fen(leg.account_token)
            refusal = "account_unknown" if leg.account_token not in self.balances else ""
            if not refusal and leg.direction is Direction.DEBIT and free < leg.amount_fen:
                refusal = "insufficient_funds"
            state = BankState.DECLINED if refusal else BankState.HELD
            self.operations[leg.operation] = Operation(
                state, leg.direction, leg.account_token, leg.amount_fen, leg.business_date, refusal
            )
        return self.operations[leg.operation]

    def _do(self, verb: Verb, leg: BankLeg) -> Operation:
        if verb is Verb.AUTHORISE:
            return self.authorise(leg)
        found = self.operations.get(leg.operation, Operation(BankState.UNKNOWN))
        if verb is Verb.CAPTURE and found.state is BankState.HELD and found.amount_fen == leg.amount_fen:
            found.state = BankState.CAPTURED
            self.balances[found.token] += found.amount_fen * (-1 if found.direction is Direction.DEBIT else 1)
        if verb is Verb.REVERSE:
            if found.state is BankState.CAPTURED:
                back = found.amount_fen * (1 if found.direction is Direction.DEBIT else -1)
                if self.balances[found.token] - self.held_fen(found.token) + back < 0:
                    return found
                self.balances[found.token] += back
            if found.state is not BankState.DECLINED:
                found.state = BankState.REVERSED
                self.operations[leg.operation] = found
        return found

    def file(self, business_date: date, revision: int = 1) -> bytes:
        rows = [
            (name, one)
            for name, one in self.operations.items()
            if one.business_date == business_date
            and one.state in (BankState.HELD, BankState.CAPTURED, BankState.REVERSED)
        ]
        lines = [
            f"D,{name},{one.direction.value if one.direction else ''},{one.amount_fen},{one.state.value},r-1,{AT}"
            for name, one in rows
        ]
        booked = [one for _, one in rows if one.state is BankState.CAPTURED]
        return a_file(lines, booked, self.participant, business_date, revision)


def a_file(
    lines: Sequence[str],
    booked: Iterable[Operation] = (),
    bank: str = "icbc",
    business_date: date = date(2018, 9, 3),
    revision: int = 1,
    currency: str = "CNY",
) -> bytes:
    head = f"H,citycard-bank-file,1,{bank},{business_date},{revision},{currency}\n" + "".join(f"{x}\n" for x in lines)
    sums = {way: sum(one.amount_fen for one in booked if one.direction is way) for way in Direction}
    digest = hashlib.sha256(head.encode()).hexdigest()
    return f"{head}T,{len(lines)},{sums[Direction.DEBIT]},{sums[Direction.CREDIT]},{digest}\n".encode()


class FakeGateway:
    """`BankGateway` over banks in memory."""

    def __init__(self, *banks: FakeBank) -> None:
        self.banks = {bank.participant: bank for bank in banks}

    async def ask(self, bank: Bank, verb: Verb, leg: BankLeg, purpose: str, expire_time: datetime) -> BankAnswer:
        return await self.banks[bank.participant].ask(verb, leg)

    async def daily_file(self, bank: Bank, business_date: date) -> bytes:
        if self.banks[bank.participant].broken:
            raise BankSilent(bank=bank.participant, why="UNAVAILABLE")
        return self.banks[bank.participant].file(business_date)


@dataclass
class File:
    file: BankFile
    stale: bool = True


@dataclass
class BankRows:
    banks: dict[str, Bank] = field(default_factory=dict)
    used: dict[tuple[str, date], int] = field(default_factory=dict)
    flows: dict[UUID, BankFlow] = field(default_factory=dict)
    # The newest revision of each day.
    files: dict[tuple[str, date], File] = field(default_factory=dict)
    breaks: list[BankBreak] = field(default_factory=list)
    chased: set[int] = field(default_factory=set)


class FakeBankRepository:
    def __init__(self, rows: BankRows) -> None:
        self._rows = rows

    async def get(self, participant: str) -> Bank:
        if participant not in self._rows.banks:
            raise BankUnknown(bank=participant)
        return self._rows.banks[participant]

    async def save(self, bank: Bank) -> None:
        self._rows.banks[bank.participant] = bank

    async def list_page(self, after: str, limit: int) -> list[Bank]:
        return [bank for name, bank in sorted(self._rows.banks.items()) if name > after][:limit]

    async def use(self, participant: str, business_date: date, amount_fen: int) -> int:
        key = (participant, business_date)
        self._rows.used[key] = self._rows.used.get(key, 0) + amount_fen
        assert self._rows.used[key] >= 0
        return self._rows.used[key]


class FakeFlows:
    def __init__(self, rows: BankRows, state: State) -> None:
        self._rows = rows
        self._reservations = state.reservations

    async def add(self, flow: BankFlow) -> None:
        self._rows.flows[flow.id] = flow

    async def get(self, flow_id: UUID) -> BankFlow:
        if flow_id not in self._rows.flows:
            raise BankFlowUnknown(flow=flow_id)
        flow = self._rows.flows[flow_id]
        undo_journal = self._reservations[flow.undo].journal if flow.undo else None
        return replace(flow, journal=self._reservations[flow_id].journal, undo_journal=undo_journal)

    get_for_update = get

    async def save(self, before: BankFlow, flow: BankFlow) -> None:
        self._rows.flows[flow.id] = flow
        for old, leg in zip(before.legs, flow.legs, strict=True):
            if (old.state, before.state) == (leg.state, flow.state):
                continue
            for (bank, day), file in self._rows.files.items():
                mentioned = str(leg.operation) in file.file.operations
                file.stale |= bank == leg.bank and (day == leg.business_date or mentioned)

    async def flow_of(self, bank: str, operation: UUID) -> UUID:
        for flow in self._rows.flows.values():
            if any((leg.bank, leg.operation) == (bank, operation) for leg in flow.legs):
                return flow.id
        raise BankOperationUnknown(operation=operation)

    async def due(self, now: datetime, per_bank: int) -> list[UUID]:
        due = [flow for flow in self._rows.flows.values() if flow.next_time is not None and flow.next_time <= now]
        return [flow.id for flow in sorted(due, key=lambda flow: flow.next_time or now)]

    async def list_page(self, after: int, limit: int, bank: str, state: FlowState | None) -> list[NumberedFlow]:
        numbered = [NumberedFlow(number, flow) for number, flow in enumerate(self._rows.flows.values(), 1)]
        return [
            row
            for row in numbered
            if row.number > after
            and (state is None or row.flow.state is state)
            and (not bank or any(leg.bank == bank for leg in row.flow.legs))
        ][:limit]


# What of ours agrees with a line of each state.
AGREEING = {
    "CAPTURED": {LegState.CAPTURED},
    "HELD": {LegState.PLANNED, LegState.ASKED, LegState.AUTHORISED, LegState.CAPTURING, LegState.REVERSING},
    "REVERSED": {LegState.PLANNED, LegState.DECLINED, LegState.REVERSING, LegState.REVERSED},
}
AT_WORK = {LegState.ASKED, LegState.AUTHORISED, LegState.CAPTURING, LegState.REVERSING}


class FakeBreaks:
    def __init__(self, rows: BankRows) -> None:
        self._rows = rows

    async def note(self, findings: Sequence[Finding], now: datetime) -> None:
        for finding in findings:
            kind = BreakKind(finding.kind.value)
            if not any((b.operation, b.kind, b.outcome) == (finding.operation, kind, None) for b in self._rows.breaks):
                self._open(
                    bank=finding.bank,
                    business_date=finding.business_date,
                    operation=finding.operation,
                    kind=kind,
                    our_amount_fen=finding.our_amount_fen,
                    bank_amount_fen=finding.bank_amount_fen,
                    our_state=finding.our_state.value,
                    bank_state=finding.bank_state.value,
                    owner=f"banks/{finding.bank}",
                    open_time=now,
                )

    async def unstuck(self, operations: Sequence[UUID], now: datetime) -> None:
        for row in self._rows.breaks:
            if row.kind is BreakKind.STUCK and row.outcome is None and row.operation in operations:
                self._put(replace(row, close_time=now, outcome=BreakOutcome.RESOLVED))

    async def known_file(self, bank: str, business_date: date) -> FileMatch | None:
        found = self._rows.files.get((bank, business_date))
        return None if found is None else _match(found.file)

    async def add_file(self, file: BankFile, now: datetime) -> None:
        for (bank, _), other in self._rows.files.items():
            other.stale |= bank == file.bank and bool(set(file.operations) & set(other.file.operations))
        self._rows.files[(file.bank, file.business_date)] = File(file)

    async def match(self, bank: str, business_date: date, now: datetime) -> FileMatch:
        found = self._rows.files[(bank, business_date)]
        said = self._said(bank)
        ours = {leg.operation: leg for flow in self._rows.flows.values() for leg in flow.legs if leg.bank == bank}
        in_file = {UUID(name) for name in found.file.operations}
        counts = {"matched": 0, "differing": 0, "only_bank": 0, "only_ours": 0}
        for operation in in_file | {name for name, leg in ours.items() if leg.business_date == business_date}:
            kind = _compare(ours.get(operation), said.get(operation))
            self._settle(bank, operation, kind, ours.get(operation), said.get(operation), now)
            counts["matched"] += operation in in_file and kind is None
            counts["differing"] += kind in (BreakKind.AMOUNT_DIFFERS, BreakKind.STATE_DIFFERS) and operation in in_file
            counts["only_bank"] += kind is BreakKind.ONLY_BANK
            counts["only_ours"] += kind is BreakKind.ONLY_OURS
        found.stale = False
        return replace(_match(found.file), **{f"{name}_count": count for name, count in counts.items()})

    def _said(self, bank: str) -> dict[UUID, tuple[date, str, int, str]]:
        said = {}
        for (name, day), row in sorted(self._rows.files.items(), key=lambda item: item[0][1]):
            if name == bank:
                file = row.file
                columns = zip(file.operations, file.directions, file.amounts_fen, file.states, strict=True)
                said |= {UUID(one): (day, way, amount, state) for one, way, amount, state in columns}
        return said

    def _settle(
        self,
        bank: str,
        operation: UUID,
        kind: BreakKind | None,
        leg: BankLeg | None,
        line: tuple[date, str, int, str] | None,
        now: datetime,
    ) -> None:
        matched = [
            row
            for row in self._rows.breaks
            if row.operation == operation and row.kind not in (BreakKind.CONTRADICTION, BreakKind.STUCK)
        ]
        is_open = next((row for row in matched if row.outcome is None), None)
        if kind is None:
            if is_open:
                self._put(replace(is_open, close_time=now, outcome=BreakOutcome.RESOLVED))
            return
        facts = {
            "kind": kind,
            "our_amount_fen": leg.amount_fen if leg else 0,
            "bank_amount_fen": line[2] if line else 0,
            "our_state": leg.state.value if leg else "",
            "bank_state": line[3] if line else "",
        }
        if is_open:
            owner = CENTRE if leg and leg.state in AT_WORK else f"banks/{bank}"
            self._put(replace(is_open, owner=owner, **facts))  # type: ignore[arg-type]  # one dict for five fields
        elif not any(
            row.outcome is BreakOutcome.DECIDED and all(getattr(row, name) == fact for name, fact in facts.items())
            for row in matched
        ):
            day = leg.business_date if leg else line[0] if line else date.min
            owner = CENTRE if leg and leg.state in AT_WORK else f"banks/{bank}"
            self._open(bank=bank, business_date=day, operation=operation, owner=owner, open_time=now, **facts)

    async def to_chase(self, bank: str, business_date: date) -> list[UUID]:
        wanted = {
            row.operation
            for row in self._rows.breaks
            if (row.bank, row.business_date, row.outcome) == (bank, business_date, None)
            and row.kind not in (BreakKind.CONTRADICTION, BreakKind.STUCK)
            and row.bank_state in ("HELD", "CAPTURED")
            and row.id not in self._rows.chased
        }
        return [
            flow.id
            for flow in self._rows.flows.values()
            if flow.state is FlowState.VOIDED and any(leg.operation in wanted for leg in flow.legs)
        ]

    async def chased(self, flow_id: UUID) -> None:
        operations = {leg.operation for leg in self._rows.flows[flow_id].legs}
        self._rows.chased |= {row.id for row in self._rows.breaks if row.operation in operations}

    async def stale(self, limit: int) -> list[tuple[str, date]]:
        return [key for key, file in self._rows.files.items() if file.stale][:limit]

    async def list_page(
        self, after: int, limit: int, bank: str, open_only: bool, kind: BreakKind | None
    ) -> list[BankBreak]:
        return [
            row
            for row in self._rows.breaks
            if row.id > after
            and (not bank or row.bank == bank)
            and (not open_only or row.outcome is None)
            and (kind is None or row.kind is kind)
        ][:limit]

    async def get(self, break_id: int) -> BankBreak:
        if not 0 < break_id <= len(self._rows.breaks):
            raise BreakUnknown(**{"break": break_id})
        return self._rows.breaks[break_id - 1]

    async def close(self, break_id: int, note: str, now: datetime) -> None:
        found = await self.get(break_id)
        self._put(replace(found, close_time=now, outcome=BreakOutcome.DECIDED, note=note))

    def _open(self, **values: object) -> None:
        flow = next(
            (
                flow.id
                for flow in self._rows.flows.values()
                if any(leg.operation == values["operation"] for leg in flow.legs)
            ),
            None,
        )
        self._rows.breaks.append(BankBreak(id=len(self._rows.breaks) + 1, flow=flow, **values))  # type: ignore[arg-type]  # by name

    def _put(self, row: BankBreak) -> None:
        self._rows.breaks[row.id - 1] = row


def _compare(leg: BankLeg | None, line: tuple[date, str, int, str] | None) -> BreakKind | None:
    if leg is None:
        return BreakKind.ONLY_BANK
    if line is None:
        return BreakKind.ONLY_OURS if leg.state is LegState.CAPTURED else None
    _, direction, amount, state = line
    if (direction, amount) != (leg.direction.value, leg.amount_fen):
        return BreakKind.AMOUNT_DIFFERS
    agrees = leg.state in AGREEING[state] and (state != "HELD" or leg.sent)
    return None if agrees else BreakKind.STATE_DIFFERS


def _match(file: BankFile) -> FileMatch:
    return FileMatch(
        file.bank,
        file.business_date,
        file.revision,
        file.digest,
        len(file),
        file.debit_total_fen,
        file.credit_total_fen,
    )


class BankFakeUnitOfWork(FakeUnitOfWork):
    def __init__(self, books: "BankFakeBooks") -> None:
        super().__init__(books)
        self._bank_books = books

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._rows = copy.deepcopy(self._bank_books.rows)
        self.banks = FakeBankRepository(self._rows)
        self.bank_flows = FakeFlows(self._rows, self._state)
        self.bank_breaks = FakeBreaks(self._rows)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def commit(self) -> None:
        await super().commit()
        self._bank_books.rows = self._rows


class BankFakeBooks(FakeBooks):
    """A database in memory with banks; calling it opens a transaction."""

    def __init__(self, chart: Chart) -> None:
        super().__init__(chart)
        self.rows = BankRows()

    def __call__(self) -> BankFakeUnitOfWork:
        return BankFakeUnitOfWork(self)
