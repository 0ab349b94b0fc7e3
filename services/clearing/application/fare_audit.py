"""PublishFarePack, ListFareDeviations, SumFareDeviations, ExplainCharge: what was charged, and what the pack says."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from libs.clock import Clock
from libs.errors import InvalidInput
from libs.fares.evaluate import Charge
from libs.fares.rules import RulePack, Tiers
from libs.records import otr
from libs.records.batch import FileType, decode_batch
from libs.runtime.requests import RequestKey
from services.clearing.application.ports import DeviationSum, Gateway, StoredDeviation, StoredRecord, UnitOfWork
from services.clearing.domain.audit import FarePack, explain, pack_of
from services.clearing.domain.errors import (
    FarePackExists,
    FarePackInvalid,
    FarePackUnknown,
    ParticipantUnknown,
    RecordUnknown,
)


@dataclass(frozen=True, slots=True)
class PublishedPack:
    """A fare pack that was published.

    Attributes:
        participant: Id of the participant that it holds for; empty for all without one of their own.
    """

    id: int
    participant: str
    name: str
    version: int
    effective_at: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a record costs what it costs."""

    record: StoredRecord
    pack: FarePack
    charge: Charge
    transfer_marked: bool


class PublishFarePack:
    """Puts a fare pack in force from an instant on."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(
        self, participant: str, document: Mapping[str, Any], effective_at: datetime, request: RequestKey
    ) -> PublishedPack:
        """Store it; records of transactions from that instant on, posted from now on, are compared with it.

        Raises:
            FarePackInvalid, ParticipantUnknown, FarePackExists: In this order.
        """
        pack = checked_pack(document)
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: PublishedPack = await uow.requests.first_answer(request, PublishedPack)
                return first
            number = await _number(uow, participant) if participant else 0
            made = await uow.audits.add_pack(number, effective_at, document)
            if made is None:
                stands = await uow.audits.pack_at(number, effective_at)
                assert stands is not None, "a pack is never removed"
                made, known = stands
                if known != document:
                    raise FarePackExists(effective_time=effective_at.isoformat())
            published = PublishedPack(made, participant, pack.name, pack.version, effective_at)
            await uow.requests.answer(request, published)
            await uow.commit()
        return published


class FareAudit:
    """Reads what the audit found."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway

    async def deviations(
        self, participant: str, day: date | None, kind: int, after: tuple[int, int] | None, size: int
    ) -> Sequence[StoredDeviation]:
        """Deviations by terminal and sequence.

        Raises:
            ParticipantUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: list[StoredDeviation] = await uow.audits.page(
                await _number(uow, participant), day, kind, after, size
            )
        return found

    async def sums(self, participant: str, day: date | None, by: str) -> Sequence[DeviationSum]:
        """Sums by kind and rule, terminal or card.

        Raises:
            ParticipantUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: list[DeviationSum] = await uow.audits.sums(await _number(uow, participant), day, by)
        return found

    async def explain(self, terminal_number: int, terminal_seq: int) -> Explanation:
        """The price of a record, step by step, from its upload and the pack in force at its instant.

        Raises:
            RecordUnknown, FarePackUnknown: In this order.
        """
        name = f"records/{terminal_number:012d}-{terminal_seq}"
        async with self._unit_of_work() as uow:
            record: StoredRecord | None = await uow.records.find(terminal_number, terminal_seq)
            if record is None:
                raise RecordUnknown(record=name)
            packs = await uow.audits.packs()
            pack = pack_of(packs, await _number(uow, record.participant), record.transaction_s)
        if pack is None:
            raise FarePackUnknown(record=name)
        _, participant, _, digest = record.file.split("/")
        content = await self._gateway.read(participant, bytes.fromhex(digest))
        batch = await asyncio.to_thread(decode_batch, content, FileType.TX)
        row = batch.records[record.file_index : record.file_index + 1]
        charge = explain(pack.pack, row, datetime.fromtimestamp(record.transaction_s, UTC))
        return Explanation(record, pack, charge, bool(row["flags"][0] & otr.Flag.TRANSFER_DISCOUNT))


def checked_pack(document: Mapping[str, Any]) -> RulePack:
    """A pack that records can be priced by.

    Raises:
        FarePackInvalid: It is no pack, or has monthly tiers.
    """
    try:
        pack = RulePack.from_dict(document)
    except InvalidInput as wrong:
        raise FarePackInvalid(fault=str(wrong.facts.get("fault")), where=str(wrong.facts.get("where"))) from wrong
    tiered = [rule.name for rule in pack.rules if isinstance(rule.pricing, Tiers)]
    if tiered:
        # What a card paid before stands on the card, not in the record: such a charge cannot be recomputed here.
        raise FarePackInvalid(fault="NEEDS_STATE", where=tiered[0])
    return pack


async def _number(uow: UnitOfWork, participant: str) -> int:
    found = await uow.participants.find(participant)
    if found is None:
        raise ParticipantUnknown(participant=participant)
    number: int = found.number
    return number
