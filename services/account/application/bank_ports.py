"""What bank flows need of the world, beside `ports.py`. Fakes and the real things pass the same suites."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from services.account.application.ports import UnitOfWork
from services.account.domain.bank import Bank
from services.account.domain.bank_break import BankBreak, BreakKind, FileMatch
from services.account.domain.bank_file import BankFile
from services.account.domain.bank_flow import BankFlow, FlowState
from services.account.domain.bank_leg import BankAnswer, BankLeg, Finding, Verb


class BankGateway(Protocol):
    """Registered banks, reached through the adapter that each implements."""

    async def ask(self, bank: Bank, verb: Verb, leg: BankLeg, purpose: str, expire_time: datetime) -> BankAnswer:
        """Ask a bank about one operation, or tell it what to do.

        Args:
            bank: Where it is reached, and how long it may take.
            verb: What it is asked.
            leg: The operation.
            purpose: What an authorisation is for, as a word.
            expire_time: Until when the bank must keep what it authorises.

        Raises:
            BankSilent: It did not answer in time, or not with an answer: nobody knows what it did.
        """
        ...

    async def daily_file(self, bank: Bank, business_date: date) -> bytes:
        """The bank's file of a business day.

        Raises:
            BankSilent: It did not answer, or has no such file yet.
            BankFileMalformed: It goes on and on.
        """
        ...


class BankRepository(Protocol):
    """Registered banks."""

    async def get(self, participant: str) -> Bank:
        """One bank.

        Raises:
            BankUnknown: It is not registered.
        """
        ...

    async def save(self, bank: Bank) -> None:
        """Register it, or change what is registered."""
        ...

    async def list_page(self, after: str, limit: int) -> list[Bank]:
        """Banks by participant id, those behind `after`."""
        ...

    async def use(self, participant: str, business_date: date, amount_fen: int) -> int:
        """Add to what a business day has used, or take away when below 0, and keep it locked; returns the sum."""
        ...


@dataclass(frozen=True, slots=True)
class NumberedFlow:
    """A flow and its place in the order of beginnings."""

    number: int
    flow: BankFlow


class FlowRepository(Protocol):
    """Flows with their legs."""

    async def add(self, flow: BankFlow) -> None:
        """Keep a new one; its reservation was added before."""
        ...

    async def get(self, flow_id: UUID) -> BankFlow:
        """One flow.

        Raises:
            BankFlowUnknown: There is none.
        """
        ...

    async def get_for_update(self, flow_id: UUID) -> BankFlow:
        """The same, locked before anything else of the transaction.

        Raises:
            BankFlowUnknown: There is none.
        """
        ...

    async def save(self, before: BankFlow, flow: BankFlow) -> None:
        """Write what changed of a locked flow; matches of its days are looked at again."""
        ...

    async def flow_of(self, bank: str, operation: UUID) -> UUID:
        """Which flow an operation of a bank belongs to.

        Raises:
            BankOperationUnknown: None, or another bank's.
        """
        ...

    async def due(self, now: datetime, per_bank: int) -> list[UUID]:
        """Flows whose time has come, the longest waiting first, at most so many of any one bank; nothing is locked."""
        ...

    async def list_page(self, after: int, limit: int, bank: str, state: FlowState | None) -> list[NumberedFlow]:
        """Flows behind a number; only of one bank, only in one state when these are given."""
        ...


class BreakRepository(Protocol):
    """Daily files and what does not agree."""

    async def note(self, findings: Sequence[Finding], now: datetime) -> None:
        """Open a break for each finding, unless the operation has one of that kind open."""
        ...

    async def unstuck(self, operations: Sequence[UUID], now: datetime) -> None:
        """Resolve what was opened because a bank did not do as it was told: it has, or the flow has ended without."""
        ...

    async def known_file(self, bank: str, business_date: date) -> FileMatch | None:
        """The file that stands for a day, its row locked; None before the first. Others who ask the same wait."""
        ...

    async def add_file(self, file: BankFile, now: datetime) -> None:
        """Keep a file as the one that stands for its day."""
        ...

    async def match(self, bank: str, business_date: date, now: datetime) -> FileMatch:
        """Compare the file that stands for a day with our operations; open, change and resolve breaks accordingly."""
        ...

    async def to_chase(self, bank: str, business_date: date) -> list[UUID]:
        """Flows that we have voided though the file of a day says that the bank holds or has booked something."""
        ...

    async def chased(self, flow_id: UUID) -> None:
        """The bank is asked about a voided flow: once for each break."""
        ...

    async def stale(self, limit: int) -> list[tuple[str, date]]:
        """Days, by bank, whose operations moved since their file was matched."""
        ...

    async def list_page(
        self, after: int, limit: int, bank: str, open_only: bool, kind: BreakKind | None
    ) -> list[BankBreak]:
        """Breaks behind a number, oldest first."""
        ...

    async def get(self, break_id: int) -> BankBreak:
        """One break, locked.

        Raises:
            BreakUnknown: There is none.
        """
        ...

    async def close(self, break_id: int, note: str, now: datetime) -> None:
        """End a locked, open break by a person's decision."""
        ...


class BankUnitOfWork(UnitOfWork, Protocol):
    """One transaction. Locks are taken in one order: flow, reservation, days of banks, purses, accounts, book."""

    @property
    def banks(self) -> BankRepository:
        """Banks."""
        ...

    @property
    def bank_flows(self) -> FlowRepository:
        """Flows."""
        ...

    @property
    def bank_breaks(self) -> BreakRepository:
        """Files and breaks."""
        ...


# Leaving the block without `commit` rolls everything back.
BankTransaction: TypeAlias = Callable[[], AbstractAsyncContextManager[BankUnitOfWork]]
