"""Posts what waits together: one transaction, one wait for the disk, one place in the line for a hot account."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from libs.clock import Clock
from libs.errors import DomainError, RequestIdReused
from libs.runtime.requests import RequestKey
from services.account.application.booking import account_effects, purse_effects, require, sums_after
from services.account.application.ports import IdFactory, PostingGroup, Transaction, UnitOfWork
from services.account.domain.accounts import Account, AccountChange, add_up, check_limits, check_not_wallets
from services.account.domain.book import Journal, NewJournal, Posting
from services.account.domain.chart import Chart
from services.account.domain.purse import PurseChange, PurseKey, add_up_purses

# More in one transaction gains nothing and makes the last one wait.
TOGETHER_MAX = 64
# Callers that were answered together come back together, give or take this; one who comes alone never waits.
GATHER_S = 0.010


@dataclass(frozen=True, slots=True)
class LinkedJournals:
    """The answer to postings that belong together."""

    journals: tuple[Journal, ...]


@dataclass(slots=True, eq=False)
class _Unit:
    """Postings of one request, posted together or not at all."""

    postings: tuple[Posting, ...]
    request: RequestKey
    linked: bool
    done: "asyncio.Future[tuple[Journal, ...]]"

    def answer(self, journals: tuple[Journal, ...]) -> object:
        return LinkedJournals(journals) if self.linked else journals[0]

    def succeed(self, journals: tuple[Journal, ...]) -> None:
        # A caller that went away cancelled its future; what was posted stays posted and is found by its retry.
        if not self.done.done():
            self.done.set_result(journals)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Decided:
    """What a transaction will write, decided unit by unit in memory."""

    accounts: dict[str, Account]
    units: list[_Unit] = field(default_factory=list)
    journals: list[NewJournal] = field(default_factory=list)
    account_changes: list[AccountChange] = field(default_factory=list)
    purse_changes: list[PurseChange] = field(default_factory=list)

    def shares(self, journals: Sequence[Journal]) -> list[tuple[_Unit, tuple[Journal, ...]]]:
        """Which of the journals are whose, when they were posted in order."""
        posted = iter(journals)
        return [(unit, tuple(next(posted) for _ in unit.postings)) for unit in self.units]

    def answers(self, journals: Sequence[Journal]) -> list[tuple[RequestKey, object]]:
        """What each request is answered."""
        return [(unit.request, unit.answer(its)) for unit, its in self.shares(journals)]


class _AnsweredBefore(Exception):
    """One of the requests is a repetition, or another transaction answers it in the same moment."""


class PostingQueue:
    """Posts requests in the order in which they came, as many in one transaction as wait.

    While one transaction is under way the next requests gather. Each is decided as if it were alone: a refusal
    concerns its own request only, and one that the database will not take does not take the others with it, since all
    are then tried one by one.
    """

    def __init__(self, transaction: Transaction, chart: Chart, clock: Clock, new_id: IdFactory) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock
        self._new_id = new_id
        self._waiting: deque[_Unit] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._last_count = 0
        self._enough = asyncio.Event()

    async def post(self, postings: Sequence[Posting], request: RequestKey, *, linked: bool) -> tuple[Journal, ...]:
        """Post them all or none; the same request gets the first answer again.

        Args:
            postings: Checked by `Posting.check` before.
            request: Claimed in the same transaction.
            linked: Whether the answer is a list of journals, or the one journal.

        Raises:
            PurseUnknown, WalletControlled, InsufficientBalance, LimitExceeded: First match wins, of the first posting
                that is refused; the fact `posting` numbers it when they are linked.
            RequestIdReused: The id was used for other content.
        """
        unit = _Unit(tuple(postings), request, linked, asyncio.get_running_loop().create_future())
        self._waiting.append(unit)
        if len(self._waiting) >= self._last_count:
            self._enough.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain(), name="posting queue")
        return await unit.done

    async def _drain(self) -> None:
        while self._waiting:
            await self._gather()
            units = self._take()
            try:
                await self._post(units)
            except Exception as error:
                if len(units) == 1:
                    units[0].fail(error)
                    continue
                for unit in units:
                    await self._post_alone(unit)
            except BaseException:
                # The process ends: nobody will look after those who wait.
                for unit in (*units, *self._waiting):
                    unit.done.cancel()
                self._waiting.clear()
                raise

    async def _gather(self) -> None:
        """Wait a moment for as many as came the last time: every transaction less is a wait for the disk less."""
        if 1 < self._last_count > len(self._waiting):
            self._enough.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._enough.wait()
        self._last_count = min(len(self._waiting), TOGETHER_MAX)

    def _take(self) -> list[_Unit]:
        """The next ones; of one request only the first, the others wait for its answer."""
        units: list[_Unit] = []
        later: list[_Unit] = []
        taken: set[tuple[str, str, str]] = set()
        while self._waiting and len(units) < TOGETHER_MAX:
            unit = self._waiting.popleft()
            name = (unit.request.caller, unit.request.method, unit.request.request_id)
            (later if name in taken else units).append(unit)
            taken.add(name)
        self._waiting.extendleft(reversed(later))
        return units

    async def _post_alone(self, unit: _Unit) -> None:
        try:
            await self._post([unit])
        except Exception as error:  # whatever it is, it is this caller's answer
            unit.fail(error)

    async def _post(self, units: Sequence[_Unit]) -> None:
        try:
            await self._attempt(units)
        except _AnsweredBefore:
            # Repetitions are rare, so nobody looks for them first. The faster transaction is committed by now.
            async with self._transaction() as uow:
                await self._answer_known(uow, units)
            fresh = [unit for unit in units if not unit.done.done()]
            if fresh:
                await self._attempt(fresh)

    async def _attempt(self, units: Sequence[_Unit]) -> None:
        async with self._transaction() as uow:
            now = self._clock.now()
            decided, refused = await self._decide(uow, units, now)
            if refused:
                await self._refuse(uow, refused)
            if not decided.units:
                return
            group = PostingGroup(
                add_up_purses(decided.purse_changes), add_up(decided.account_changes), decided.journals
            )
            journals = await uow.postings.commit(group, now, decided.answers)
        if journals is None:
            raise _AnsweredBefore
        for unit, its in decided.shares(journals):
            unit.succeed(its)

    async def _answer_known(self, uow: UnitOfWork, units: Sequence[_Unit]) -> None:
        """Give those whose request was answered before their first answer."""
        known = await uow.claims.digests([unit.request for unit in units])
        for unit in units:
            digest = known.get(unit.request)
            if digest is None:
                continue
            if digest != unit.request.digest:
                unit.fail(RequestIdReused(request_id=unit.request.request_id))
            elif unit.linked:
                unit.succeed((await uow.requests.first_answer(unit.request, LinkedJournals)).journals)
            else:
                unit.succeed((await uow.requests.first_answer(unit.request, Journal),))

    async def _refuse(self, uow: UnitOfWork, refused: Sequence[tuple[_Unit, DomainError]]) -> None:
        """Tell the refused, unless they only repeat what was answered before: what was posted then stays posted."""
        await self._answer_known(uow, [unit for unit, _ in refused])
        for unit, refusal in refused:
            unit.fail(refusal)

    async def _decide(
        self, uow: UnitOfWork, units: Sequence[_Unit], now: datetime
    ) -> tuple[_Decided, list[tuple[_Unit, DomainError]]]:
        """Lock what they touch, and let each see the accounts as those before it leave them."""
        postings = [posting for unit in units for posting in unit.postings]
        purses = sorted({key for posting in postings for key in posting.purses})
        names = sorted({leg.account for posting in postings for leg in posting.legs})
        known, accounts = await uow.postings.lock(purses, names, now)
        decided = _Decided(accounts)
        refused: list[tuple[_Unit, DomainError]] = []
        for unit in units:
            try:
                self._decide_one(decided, unit, known)
            except DomainError as refusal:
                refused.append((unit, refusal))
        return decided, refused

    def _decide_one(self, decided: _Decided, unit: _Unit, known: set[PurseKey]) -> None:
        accounts = dict(decided.accounts)
        journals: list[NewJournal] = []
        account_changes: list[AccountChange] = []
        purse_changes: list[PurseChange] = []
        for number, posting in enumerate(unit.postings, 1):
            changes = account_effects(posted=posting)
            try:
                require(known, posting.purses)
                check_not_wallets(accounts, changes)
                check_limits(accounts, changes)
            except DomainError as refusal:
                if unit.linked:
                    refusal.facts["posting"] = str(number)
                raise
            for change in changes:
                accounts[change.name] = accounts[change.name].changed(change)
            journals.append(NewJournal(self._new_id(), posting, sums_after(posting, accounts)))
            account_changes += changes
            purse_changes += purse_effects(self._chart, posted=posting)
        decided.accounts = accounts
        decided.units.append(unit)
        decided.journals += journals
        decided.account_changes += account_changes
        decided.purse_changes += purse_changes
