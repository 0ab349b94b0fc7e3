"""Gaps, registers, certificates of completeness, backlog: is everything here?"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.clock import Clock
from libs.errors import NotYours
from libs.records.batch import decode_batch
from libs.runtime.identity import Identity
from services.terminal_gw.application.commands import must_be, must_own_all
from services.terminal_gw.application.ports_field import (
    Backlog,
    Bodies,
    FieldUnitOfWork,
    Gap,
    KeptCertificate,
    MissingFiles,
    Signer,
)
from services.terminal_gw.application.sessions import SessionHub
from services.terminal_gw.application.sign_in import day_start
from services.terminal_gw.application.watch_sessions import LIVE_S
from services.terminal_gw.domain.completeness import DayFacts, Register, Stored, Verdict, certify
from services.terminal_gw.domain.errors import CompletenessUnknown, TerminalUnknown
from services.terminal_gw.domain.serials import FileSerials, Indexed, intact, serials_of
from services.terminal_gw.domain.upload import UploadKey

MaySee = Callable[[str], bool]
_PAGE: Final = 1000
_RANGES_MAX: Final = 1000
_RECOLLECT_S: Final = 86_400
_UNINDEXED_A_LOOK: Final = 20
_SERIAL_BITS: Final = 33
_OWN: Final = "citycard://service/terminal_gw"


@dataclass(frozen=True, slots=True)
class Recollected:
    """Commands issued, and terminals that have one open already."""

    command_count: int
    open_count: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How many terminals got which verdict, and how many certificates are new."""

    by_verdict: dict[int, int]
    issued_count: int


class Collection:
    """What is stored and what is missing.

    Args:
        unit_of_work: Opens a transaction.
        clock: The centre's clock.
        hub: Learns that commands wait.
        bodies: Makes commands.
        signer: Signs certificates.
    """

    def __init__(
        self,
        unit_of_work: Callable[[], FieldUnitOfWork],
        clock: Clock,
        hub: SessionHub,
        bodies: Bodies,
        signer: Signer,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._hub = hub
        self._bodies = bodies
        self._signer = signer
        # One at a time: a day of ten thousand terminals is a gigabyte of columns at most, two would be two.
        self._certifying = asyncio.Lock()

    async def report_registers(self, caller: Identity, number: str, registers: Sequence[Register]) -> int:
        """Keep registers; returns how many are new.

        Raises:
            TerminalUnknown, NotYours: The terminal.
            RegisterMalformed, RegisterConflict: One of them; none is kept.
        """
        for one in registers:
            one.check()
        async with self._unit_of_work() as uow:
            await must_own_all(uow, caller, [number])
            must_be(caller, number)
            owner = (await uow.devices.owners([number]))[number]
            kept = await uow.collection.keep_registers(owner, number, registers, self._clock.now())
            await uow.commit()
        return kept

    async def gap_report(self, caller: Identity, number: str) -> Gap:
        """What one terminal misses.

        Raises:
            TerminalUnknown: There is none that the caller may see.
        """
        async with self._unit_of_work() as uow:
            found = await uow.collection.gaps(None, "", 1, only=number, missing_only=False)
        if not found or not caller.may_see(found[0].participant):
            raise TerminalUnknown(terminal=number)
        return found[0]

    async def gap_reports(self, participant: str | None, after: str, size: int) -> Sequence[Gap]:
        """Who misses something, by number."""
        async with self._unit_of_work() as uow:
            return await uow.collection.gaps(participant, after, size)

    async def missing_files(self, participant: str | None, after: str, size: int) -> Sequence[MissingFiles]:
        """Senders that left numbers out."""
        async with self._unit_of_work() as uow:
            return await uow.collection.missing_files(participant, after, size)

    async def recollect(self, participant: str | None, timeout_s: int = 0, issuer: str = _OWN) -> Recollected:
        """Ask every terminal that misses device serials to send them again, unless it was asked already."""
        now = self._clock.now()
        expire = now + timedelta(seconds=timeout_s or _RECOLLECT_S)
        command_count = open_count = 0
        after = ""
        while True:
            async with self._unit_of_work() as uow:
                asked = await uow.collection.recollecting()
                page = await uow.collection.gaps(participant, after, _PAGE)
                missing = [gap for gap in page if gap.missing_device_seqs]
                open_count += sum(gap.terminal_number in asked for gap in missing)
                orders = [
                    (gap.terminal_number, *self._bodies.recollect(gap.missing_device_seqs[:_RANGES_MAX]))
                    for gap in missing
                    if gap.terminal_number not in asked
                ]
                if orders:
                    await uow.commands.issue(orders, issuer, now, expire)
                    await uow.commit()
            command_count += len(orders)
            if len(page) < _PAGE:
                break
            after = page[-1].terminal_number
        if command_count:
            self._hub.commands_waiting.set()
        return Recollected(command_count, open_count)

    async def backlog(self, participant: str | None, silent_s: int) -> Sequence[Backlog]:
        """The board."""
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            return await uow.collection.backlog(
                participant, now - timedelta(seconds=silent_s or 3600), now - timedelta(seconds=LIVE_S)
            )

    async def certificate(self, may_see: MaySee, number: str, day: date, revision: int | None) -> KeptCertificate:
        """The newest revision, or one.

        Raises:
            CompletenessUnknown: There is none that the caller may see.
        """
        async with self._unit_of_work() as uow:
            found = await uow.collection.certificate(number, day, revision)
        if found is None or not may_see(found.participant):
            raise CompletenessUnknown(certificate=f"terminals/{number}/days/{day:%Y%m%d}")
        return found

    async def certificates(
        self, participant: str | None, day: date, after: str, size: int, *, incomplete_only: bool
    ) -> Sequence[KeptCertificate]:
        """The newest of a day, by terminal number."""
        async with self._unit_of_work() as uow:
            return await uow.collection.certificates(participant, day, after, size, incomplete_only=incomplete_only)

    async def issue_one(self, caller: Identity, number: str, day: date) -> KeptCertificate:
        """Issue the certificate of one terminal.

        Raises:
            TerminalUnknown: There is none at the end of that day.
            NotYours: It is another's.
        """
        async with self._unit_of_work() as uow:
            await must_own_all(uow, caller, [number])
        await self._issue(None, day, number)
        async with self._unit_of_work() as uow:
            found = await uow.collection.certificate(number, day, None)
        if found is None:
            raise TerminalUnknown(terminal=number)
        return found

    async def issue_all(self, caller: Identity, participant: str | None, day: date) -> Tally:
        """Issue the certificates of all terminals of a day.

        Raises:
            NotYours: Of another participant, or of all by who is no administrator.
        """
        if caller.participant is not None and caller.participant != participant:
            raise NotYours
        return await self._issue(participant, day, "")

    async def _issue(self, participant: str | None, day: date, only: str) -> Tally:
        async with self._certifying:
            async with self._unit_of_work() as uow:
                facts = await uow.collection.days(participant, day, day_start(day + timedelta(days=1)), only)
                stored = await self._stored(uow, facts)
            made = await asyncio.to_thread(
                lambda: [certify(one, stored.get(place, Stored())) for place, one in enumerate(facts)]
            )
            tally: dict[int, int] = dict.fromkeys((int(verdict) for verdict in Verdict), 0)
            for one in made:
                tally[int(one.verdict)] += 1
            now = self._clock.now()
            async with self._unit_of_work() as uow:
                known = await uow.collection.newest_certificates(day, [one.facts.terminal_number for one in made])
                fresh = [
                    KeptCertificate(
                        one.facts.terminal_number,
                        day,
                        known[one.facts.terminal_number].revision + 1 if one.facts.terminal_number in known else 1,
                        one.facts.participant,
                        one.content,
                        self._signer.sign(one.content),
                        self._signer.key_id,
                        int(one.verdict),
                        sum(last - first + 1 for first, last in one.missing),
                        now,
                    )
                    for one in made
                    if one.facts.terminal_number not in known or known[one.facts.terminal_number].content != one.content
                ]
                await uow.collection.keep_certificates(fresh)
                await uow.commit()
        return Tally(tally, len(fresh))

    async def _stored(self, uow: FieldUnitOfWork, facts: Sequence[DayFacts]) -> dict[int, Stored]:
        """What is stored of each day, by its place in `facts`: from the bytes of the uploads, each read once."""
        claims = [
            (one.participant, one.device_number, serials[0], serials[1], place)
            for place, one in enumerate(facts)
            if (serials := one.serials) is not None and serials[1] >= serials[0]
        ]
        if not claims:
            return {}
        sums = _Sums(claims)
        for key, size_bytes in await uow.collection.uploads_holding([claim[:4] for claim in claims]):
            data = await read_whole(uow, key, size_bytes)
            await asyncio.to_thread(sums.add, key, data)
            del data
        return await asyncio.to_thread(sums.result)


class _Sums:
    """Records of claims out of uploads, as columns; a serial that comes again counts once."""

    def __init__(self, claims: Sequence[tuple[str, int, int, int, int]]) -> None:
        self._places = [claim[4] for claim in claims]
        self._by_participant: dict[str, tuple[npt.NDArray[np.int64], ...]] = {}
        for participant in {claim[0] for claim in claims}:
            own = sorted(
                (device, first, last, index)
                for index, (owner, device, first, last, _) in enumerate(claims)
                if owner == participant
            )
            self._by_participant[participant] = tuple(
                np.array(column, dtype=np.int64) for column in zip(*own, strict=True)
            )
        self._parts: list[npt.NDArray[np.int64]] = []
        self._files: list[bytes] = []

    def add(self, key: UploadKey, data: bytes) -> None:
        """Take what one upload holds of the claims."""
        devices, firsts, lasts, indexes = self._by_participant[key.participant]
        records = decode_batch(data).records
        records = records[intact(records)]
        device = records["device_number"].astype(np.int64)
        seq = records["device_seq"].astype(np.int64)
        # One key of machine and serial: the claim that begins last at or before it is the only one that can hold it.
        known = np.unique(devices)
        begins = (np.searchsorted(known, devices) << _SERIAL_BITS) + firsts
        keys = (np.searchsorted(known, device) << _SERIAL_BITS) + seq
        at = np.maximum(np.searchsorted(begins, keys, side="right") - 1, 0)
        hit = (devices[at] == device) & (firsts[at] <= seq) & (seq <= lasts[at])
        rows = np.flatnonzero(hit)
        if len(rows):
            part = np.empty((len(rows), 5), dtype=np.int64)
            part[:, 0] = indexes[at[rows]]
            part[:, 1] = seq[rows]
            part[:, 2] = len(self._files)
            part[:, 3] = records["amount_fen"][rows]
            part[:, 4] = records["crc"][rows]
            self._parts.append(part)
            self._files.append(key.sha256)

    def result(self) -> dict[int, Stored]:
        """By the place of the claim."""
        if not self._parts:
            return {}
        rows = np.concatenate(self._parts)
        # By claim and serial, the first upload first; the sort keeps the order within an upload.
        rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
        same = np.r_[False, (rows[1:, 0] == rows[:-1, 0]) & (rows[1:, 1] == rows[:-1, 1])]
        conflict = np.r_[False, same[1:] & (rows[1:, 4] != rows[:-1, 4])]
        first = rows[~same]
        result: dict[int, Stored] = {}
        starts = np.flatnonzero(np.r_[True, np.diff(first[:, 0]) != 0])
        ends = np.r_[starts[1:], len(first)]
        conflicts = np.bincount(rows[conflict, 0], minlength=len(self._places))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            index = int(first[start, 0])
            files = tuple(self._files[number] for number in np.unique(first[start:end, 2]).tolist())
            total_fen = int(first[start:end, 3].sum())
            result[self._places[index]] = Stored(end - start, total_fen, int(conflicts[index]), files)
        return result


async def read_whole(uow: FieldUnitOfWork, key: UploadKey, size_bytes: int) -> bytes:
    """The bytes of a stored upload."""
    data = bytearray()
    while len(data) < size_bytes and (part := await uow.uploads.part(key, len(data))):
        data += part
    return bytes(data)


class IndexOld:
    """Looks at uploads that a version before stored without noting their serials."""

    def __init__(self, unit_of_work: Callable[[], FieldUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self) -> int:
        """Some of them; returns how many."""
        total = 0
        while True:
            async with self._unit_of_work() as uow:
                found = await uow.collection.unindexed(_UNINDEXED_A_LOOK)
                indexed = []
                for upload_id, key, sender, batch_number in found:
                    upload = await uow.uploads.find(key)
                    assert upload is not None, "a stored upload is never removed"
                    data = await read_whole(uow, key, upload.size_bytes)
                    serials = await asyncio.to_thread(_serials, data)
                    indexed.append(Indexed(upload_id, key, sender, batch_number, serials))
                if indexed:
                    await uow.collection.index(indexed)
                    await uow.commit()
            total += len(found)
            if len(found) < _UNINDEXED_A_LOOK:
                return total


def _serials(data: bytes) -> FileSerials:
    return serials_of(decode_batch(data).records)
