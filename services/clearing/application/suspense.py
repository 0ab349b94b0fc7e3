"""Suspense (挂账): look into items, correct, decide, approve, report (clearing-and-ledger.md, section 7)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from libs.clock import Clock
from libs.records.batch import FileType, decode_batch
from libs.records.codes import ResultCode
from libs.runtime.requests import RequestKey
from services.clearing.application.book import post
from services.clearing.application.ports import Gateway, UnitOfWork
from services.clearing.application.suspense_rows import Age, ItemEvent
from services.clearing.domain.adjustment import Adjustment, AdjustmentKind
from services.clearing.domain.errors import ParticipantUnknown
from services.clearing.domain.errors_settlement import SuspenseUnknown
from services.clearing.domain.suspense import (
    AGES_DAYS,
    Condition,
    Correction,
    Decision,
    LiabilityRule,
    Shares,
    SuspenseItem,
    advise,
    list_condition,
)


@dataclass(frozen=True, slots=True)
class ItemStory:
    """An item with its history and what the liability rules say of it."""

    item: SuspenseItem
    events: tuple[ItemEvent, ...]
    advice: LiabilityRule | None


class InvestigateSuspenseItem:
    """Begins to look into an item, or adds evidence."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, item_id: int, note: str, request: RequestKey) -> SuspenseItem:
        """The item, INVESTIGATING.

        Raises:
            SuspenseUnknown, SuspenseStateForbids: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: SuspenseItem = await uow.requests.first_answer(request, SuspenseItem)
                return first
            item = (await locked(uow, item_id)).investigate()
            await uow.suspense.save(item, ItemEvent(self._clock.now(), request.caller, "investigated", note))
            await uow.requests.answer(request, item)
            await uow.commit()
        return item


class CorrectSuspenseItem:
    """Says what a record should have said; the record is kept as it came."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(
        self, item_id: int, payee: str, amount_fen: int, reason: str, request: RequestKey
    ) -> SuspenseItem:
        """The item with its correction.

        Raises:
            SuspenseUnknown, ParticipantUnknown, SuspenseStateForbids, SplitWrong: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: SuspenseItem = await uow.requests.first_answer(request, SuspenseItem)
                return first
            found = await locked(uow, item_id)
            if await uow.participants.find(payee) is None:
                raise ParticipantUnknown(participant=payee)
            now = self._clock.now()
            correction = Correction(payee, amount_fen, reason, request.caller, now)
            item = found.correct(correction)
            await uow.suspense.add_correction(item, correction)
            await uow.suspense.save(item, ItemEvent(now, request.caller, "corrected", reason))
            await uow.requests.answer(request, item)
            await uow.commit()
        return item


class DecideSuspenseItem:
    """Decides an item; another person approves."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(
        self, item_id: int, decision: Decision, shares: Shares, reason: str, request: RequestKey
    ) -> SuspenseItem:
        """The item, DECIDED.

        Raises:
            SuspenseUnknown, SuspenseStateForbids, DecisionForbidden, SplitWrong: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: SuspenseItem = await uow.requests.first_answer(request, SuspenseItem)
                return first
            now = self._clock.now()
            item = (await locked(uow, item_id)).decide(decision, shares, reason, request.caller, now)
            await uow.suspense.save(item, ItemEvent(now, request.caller, "decided", f"{decision.name}: {reason}"))
            await uow.requests.answer(request, item)
            await uow.commit()
        return item


class ApproveSuspenseItem:
    """Lets a decision take effect: lines of the book and an adjustment in the open window."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, item_id: int, request: RequestKey) -> SuspenseItem:
        """The item, POSTED.

        Raises:
            SuspenseUnknown, SuspenseStateForbids, SamePerson: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: SuspenseItem = await uow.requests.first_answer(request, SuspenseItem)
                return first
            found = await locked(uow, item_id)
            now = self._clock.now()
            payee = await uow.participants.find(found.payee)
            day = await uow.postings.open_window(payee.number, payee.settlement_date(now))
            item = found.approve(request.caller, now, day)
            lines = item.lines()
            if lines:
                paid = item.shares.pay_fen
                adjustment = Adjustment(
                    payee.number, AdjustmentKind.SUSPENSE, paid, item.name, item.settlement_date, item.issuer
                )
                await post(
                    uow, AdjustmentKind.SUSPENSE, item.name, lines, [adjustment] if paid else [], [payee], now
                )  # fmt: skip
            await uow.suspense.save(item, ItemEvent(now, request.caller, "posted", item.decision.name))
            await uow.requests.answer(request, item)
            await uow.commit()
        return item


class SetLiabilityRule:
    """Puts a liability rule in force."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, rule: LiabilityRule) -> LiabilityRule:
        """Setting what is in force changes nothing."""
        async with self._unit_of_work() as uow:
            if rule not in await uow.suspense.rules():
                await uow.suspense.set_rule(rule)
                await uow.commit()
        return rule


class SuspenseReads:
    """Items, ages and rules."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway
        self._clock = clock

    async def page(
        self, participant: str | None, state: int, code: int, after: int, size: int
    ) -> Sequence[SuspenseItem]:
        """Items by number."""
        async with self._unit_of_work() as uow:
            found: list[SuspenseItem] = await uow.suspense.page(participant, state, code, after, size)
        return found

    async def item(self, item_id: int) -> SuspenseItem:
        """One item.

        Raises:
            SuspenseUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: SuspenseItem | None = await uow.suspense.find(item_id)
        if found is None:
            raise SuspenseUnknown(item=f"suspenseItems/{item_id}")
        return found

    async def story(self, item: SuspenseItem, *, list_late: bool) -> ItemStory:
        """An item with its history and the rule that fits it; what the terminal knew is read from the upload.

        Raises:
            DependencyUnavailable: The gateway does not give the upload.
        """
        async with self._unit_of_work() as uow:
            events = tuple(await uow.suspense.events(item.id))
            rules = await uow.suspense.rules()
        condition = Condition.ANY
        if item.code == ResultCode.BLACKLISTED:
            condition = Condition.LIST_LATE if list_late else await self._list_condition(item)
        return ItemStory(item, events, advise(rules, item.code, condition))

    async def _list_condition(self, item: SuspenseItem) -> Condition:
        _, participant, _, digest = item.file.split("/")
        content = await self._gateway.read(participant, bytes.fromhex(digest))
        batch = await asyncio.to_thread(decode_batch, content, FileType.TX)
        held = int(batch.records["blacklist_version"][item.file_index])
        async with self._unit_of_work() as uow:
            record = await uow.records.find(item.terminal_number, item.terminal_seq)
            listed = await uow.suspense.listed_version(item.card, record.transaction_s) if record else None
        return Condition.ANY if listed is None else list_condition(held, listed)

    async def ages(self, participant: str | None) -> Sequence[Age]:
        """What is open, by age."""
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            found: list[Age] = await uow.suspense.ages(
                participant, [(days, now - timedelta(days=days)) for days in AGES_DAYS]
            )
        return found

    async def rules(self) -> Sequence[LiabilityRule]:
        """The liability rules in force."""
        async with self._unit_of_work() as uow:
            found: list[LiabilityRule] = await uow.suspense.rules()
        return found


async def locked(uow: UnitOfWork, item_id: int) -> SuspenseItem:
    """One item, locked for this transaction.

    Raises:
        SuspenseUnknown: There is none.
    """
    found: SuspenseItem | None = await uow.suspense.find(item_id, lock=True)
    if found is None:
        raise SuspenseUnknown(item=f"suspenseItems/{item_id}")
    return found
