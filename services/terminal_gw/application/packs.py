"""Parameter packs: publish, read, roll out."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from libs.clock import Clock
from libs.errors import LimitReached, NotYours
from libs.records.crc32c import crc32c
from libs.runtime.identity import Identity
from libs.runtime.requests import RequestKey
from services.terminal_gw.application.commands import must_be, must_own_all
from services.terminal_gw.application.ports import Signatures
from services.terminal_gw.application.ports_field import Bodies, FieldUnitOfWork, RolloutCounts
from services.terminal_gw.application.sessions import SessionHub
from services.terminal_gw.application.upload_batch import Chunk
from services.terminal_gw.domain.device import PackOutcome, PackReport
from services.terminal_gw.domain.errors import (
    ChunkChecksum,
    PackDigest,
    PackExists,
    PackOffset,
    PackOrder,
    PackUnknown,
    RolloutState,
    UploadTooLarge,
)
from services.terminal_gw.domain.packs import Pack, PackKey, Place, Rollout, RolloutStatus, Stage, wanted

_TELL_S: Final = 86_400
_IDLE_S: Final = 60.0
_PUBLISHING_MAX: Final = 4


class PublishPack:
    """Receives a pack whole and keeps it in one transaction.

    Args:
        unit_of_work: Opens a transaction.
        clock: Tells when it was published.
        signatures: Checks who published it.
        pack_bytes_max: Largest pack.
    """

    def __init__(
        self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock, signatures: Signatures, pack_bytes_max: int
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._signatures = signatures
        self._pack_bytes_max = pack_bytes_max
        self._publishing = 0

    async def __call__(self, caller: Identity, messages: AsyncIterator[Pack | Chunk]) -> Pack:
        """Take one stream.

        Raises:
            NotYours: A pack of another, or of everybody.
            PackOrder, UploadTooLarge, SignatureWrong, ChunkChecksum, PackDigest: See the contract.
            PackExists: The version is there with other content.
            LimitReached: Too many are being published.
        """
        if self._publishing >= _PUBLISHING_MAX:
            raise LimitReached(limit="packs_published_at_once")
        self._publishing += 1
        try:
            start = await self._next(messages)
            if not isinstance(start, Pack):
                raise PackOrder(expected="start", found="chunk" if start else "end")
            if caller.participant is not None and caller.participant != start.key.participant:
                raise NotYours
            if start.size_bytes > self._pack_bytes_max:
                raise UploadTooLarge(size_bytes=start.size_bytes, limit_bytes=self._pack_bytes_max)
            self._signatures.verify(start.certificate, start.sha256, start.signature)
            async with self._unit_of_work() as uow:
                found = await uow.packs.find(start.key)
            if found is not None:
                return _same(found[1], start)
            data = await self._receive(start, messages)
        finally:
            self._publishing -= 1
        if (await asyncio.to_thread(hashlib.sha256, data)).digest() != start.sha256:
            raise PackDigest
        pack = replace(start, publish_time=self._clock.now())
        async with self._unit_of_work() as uow:
            if not await uow.packs.add(pack, bytes(data)):
                found = await uow.packs.find(start.key)
                assert found is not None, "a version that conflicts is there, and none is ever removed"
                return _same(found[1], start)
            await uow.commit()
        return pack

    async def _receive(self, start: Pack, messages: AsyncIterator[Pack | Chunk]) -> bytearray:
        data = bytearray()
        while (message := await self._next(messages)) is not None:
            if isinstance(message, Pack):
                raise PackOrder(expected="chunk", found="start")
            if message.offset != len(data):
                raise PackOrder(expected=len(data), found=message.offset)
            if crc32c(message.data) != message.crc32c:
                raise ChunkChecksum(offset=message.offset)
            data += message.data
            if len(data) > start.size_bytes:
                raise PackOrder(expected=f"at most {start.size_bytes}", found=len(data))
        if len(data) != start.size_bytes:
            raise PackDigest
        return data

    async def _next(self, messages: AsyncIterator[Pack | Chunk]) -> Pack | Chunk | None:
        async with asyncio.timeout(_IDLE_S):
            return await anext(messages, None)


def _same(known: Pack, start: Pack) -> Pack:
    if (known.sha256, known.effect_time) != (start.sha256, start.effect_time):
        raise PackExists(pack=start.key)
    return known


class Packs:
    """Reading packs, and what terminals report of them."""

    def __init__(self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def get(self, caller: Identity, name: str) -> Pack:
        """One pack.

        Raises:
            PackUnknown: There is none that the caller may see.
        """
        return (await self._find(caller, name))[1]

    async def _find(self, caller: Identity, name: str) -> tuple[int, Pack]:
        key = PackKey.parse(name)
        async with self._unit_of_work() as uow:
            found = await uow.packs.find(key)
        if found is None or (key.participant and not caller.may_see(key.participant)):
            raise PackUnknown(pack=name)
        return found

    async def list(self, participant: str | None, kind: int, before: int, size: int) -> Sequence[tuple[int, Pack]]:
        """Newest first, with their numbers."""
        async with self._unit_of_work() as uow:
            return await uow.packs.list(participant, kind, before, size)

    async def download(self, caller: Identity, name: str, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        """Offset and bytes of part after part; no connection is held between two of them.

        Raises:
            PackUnknown: There is none.
            PackOffset: Beyond its end.
        """
        pack_id, pack = await self._find(caller, name)
        if offset > pack.size_bytes:
            raise PackOffset(offset=offset, size_bytes=pack.size_bytes)
        while offset < pack.size_bytes:
            async with self._unit_of_work() as uow:
                data = await uow.packs.part(pack_id, offset)
            assert data, "a published pack has all its bytes"
            yield offset, data
            offset += len(data)

    async def wanted(self, caller: Identity, number: str) -> Sequence[Pack]:
        """Which packs a terminal should have.

        Raises:
            TerminalUnknown, NotYours: The terminal.
        """
        async with self._unit_of_work() as uow:
            await must_own_all(uow, caller, [number])
            must_be(caller, number)
            owner = (await uow.devices.owners([number]))[number]
            # One terminal of one participant: the page is as small as its fleet.
            places = [(place, has) for place, has in await uow.devices.places(owner) if place.terminal_number == number]
            chosen = wanted(places[0][0], await uow.packs.rollouts(), places[0][1])
            return await uow.packs.many([chosen[kind] for kind in sorted(chosen)])

    async def report(self, caller: Identity, number: str, reports: Sequence[PackReport]) -> None:
        """Keep what a terminal says is in force.

        Raises:
            TerminalUnknown, NotYours: The terminal.
        """
        async with self._unit_of_work() as uow:
            await must_own_all(uow, caller, [number])
            must_be(caller, number)
            await uow.devices.keep_packs([(number, one) for one in reports], self._clock.now())
            await uow.commit()


@dataclass(frozen=True, slots=True)
class Started:
    """The answer kept for a repeated start."""

    number: int


class Rollouts:
    """Rolling packs out.

    Every change tells the terminals whose wanted version changed, by a FetchPack command in the same transaction.

    Args:
        unit_of_work: Opens a transaction.
        clock: The centre's clock.
        hub: Learns that commands wait.
        bodies: Makes the commands.
    """

    def __init__(
        self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock, hub: SessionHub, bodies: Bodies
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._hub = hub
        self._bodies = bodies

    async def start(
        self, caller: Identity, pack: str, stages: Sequence[Stage], failure_count_max: int, request: RequestKey
    ) -> Rollout:
        """Begin at the first stage.

        Raises:
            PackUnknown: There is none.
            NotYours: It belongs to another.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                started = await uow.requests.first_answer(request, Started)
                return await uow.packs.rollout_for_update(started.number)
            found = await uow.packs.find(PackKey.parse(pack))
            if found is None:
                raise PackUnknown(pack=pack)
            _must_own(caller, found[1].key)
            before = await self._wanted(uow, found[1].key)
            number = await uow.packs.start(
                found[0], stages or (Stage((), 100),), failure_count_max, caller.uri, self._clock.now()
            )
            await self._tell(uow, caller, found[1].key, before)
            await uow.requests.answer(request, Started(number))
            rollout = await uow.packs.rollout_for_update(number)
            await uow.commit()
        self._hub.commands_waiting.set()
        return rollout

    async def advance(self, caller: Identity, number: int, stage: int) -> Rollout:
        """Go to the next stage; a repetition changes nothing.

        Raises:
            RolloutUnknown, NotYours: The roll-out.
            RolloutState: It is not running, or the stage is not the next.
        """

        def decide(rollout: Rollout) -> Rollout:
            if stage == rollout.stage and rollout.state is not RolloutStatus.ROLLED_BACK:
                return rollout
            if rollout.state is not RolloutStatus.RUNNING or stage != rollout.stage + 1 or stage > len(rollout.stages):
                raise _state(rollout)
            return replace(rollout, stage=stage)

        return await self._change(caller, number, decide)

    async def pause(self, caller: Identity, number: int) -> Rollout:
        """Tell nobody new.

        Raises:
            RolloutUnknown, NotYours, RolloutState: See the contract.
        """
        return await self._change(caller, number, lambda one: _between(one, RolloutStatus.PAUSED))

    async def resume(self, caller: Identity, number: int) -> Rollout:
        """Go on.

        Raises:
            RolloutUnknown, NotYours, RolloutState: See the contract.
        """
        return await self._change(caller, number, lambda one: _between(one, RolloutStatus.RUNNING))

    async def roll_back(self, caller: Identity, number: int) -> Rollout:
        """Take it back, for ever.

        Raises:
            RolloutUnknown, NotYours: The roll-out.
        """
        return await self._change(caller, number, lambda one: replace(one, state=RolloutStatus.ROLLED_BACK))

    async def _change(self, caller: Identity, number: int, decide: Callable[[Rollout], Rollout]) -> Rollout:
        async with self._unit_of_work() as uow:
            rollout = await uow.packs.rollout_for_update(number)
            _must_own(caller, rollout.pack)
            changed = decide(rollout)
            if changed == rollout:
                return rollout
            before = await self._wanted(uow, rollout.pack)
            await uow.packs.save_rollout(number, changed.stage, changed.state)
            await self._tell(uow, caller, rollout.pack, before)
            await uow.commit()
        self._hub.commands_waiting.set()
        return changed

    async def _wanted(self, uow: FieldUnitOfWork, key: PackKey) -> Mapping[str, PackKey | None]:
        rollouts = await uow.packs.rollouts()
        places = await uow.devices.places(key.participant or None)
        return {place.terminal_number: wanted(place, rollouts, has).get(key.kind) for place, has in places}

    async def _tell(
        self, uow: FieldUnitOfWork, caller: Identity, key: PackKey, before: Mapping[str, PackKey | None]
    ) -> None:
        after = await self._wanted(uow, key)
        now = self._clock.now()
        orders = []
        bodies: dict[PackKey, tuple[str, bytes]] = {}
        for number, pack in after.items():
            if pack is not None and pack != before.get(number):
                kind, body = bodies.setdefault(pack, self._bodies.fetch_pack(pack))
                orders.append((number, kind, body))
        if orders:
            await uow.commands.issue(orders, caller.uri, now, now + timedelta(seconds=_TELL_S))

    async def get(self, caller: Identity, number: int) -> tuple[Rollout, RolloutCounts]:
        """One, with how far it came.

        Raises:
            RolloutUnknown, NotYours: The roll-out.
        """
        async with self._unit_of_work() as uow:
            rollout = await uow.packs.rollout_for_update(number)
            if rollout.pack.participant:
                caller.must_own(rollout.pack.participant)
            places = await uow.devices.places(caller.participant or rollout.pack.participant or None)
            reports = await uow.packs.reports_of(rollout.pack.kind, rollout.pack.version)
        return rollout, _counts(rollout, [place for place, _ in places], reports)

    async def list(self, before: int | None, size: int) -> Sequence[Rollout]:
        """Newest first."""
        async with self._unit_of_work() as uow:
            return await uow.packs.rollouts(before, size)


def _must_own(caller: Identity, key: PackKey) -> None:
    if caller.participant is not None and caller.participant != key.participant:
        raise NotYours


def _between(rollout: Rollout, state: RolloutStatus) -> Rollout:
    if rollout.state is RolloutStatus.ROLLED_BACK:
        raise _state(rollout)
    return replace(rollout, state=state)


def _state(rollout: Rollout) -> RolloutState:
    return RolloutState(rollout=rollout.name, state=rollout.state.name, stage=rollout.stage)


def _counts(rollout: Rollout, places: Sequence[Place], reports: Mapping[str, int]) -> RolloutCounts:
    covered = [place.terminal_number for place in places if rollout.covers(place)]
    outcomes = [reports.get(place.terminal_number) for place in places]
    return RolloutCounts(
        len(covered),
        outcomes.count(PackOutcome.IN_FORCE),
        outcomes.count(PackOutcome.LOADED),
        outcomes.count(PackOutcome.FAILED),
    )
