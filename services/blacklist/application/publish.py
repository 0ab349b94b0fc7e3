"""Publishing: versions of the lists become signed files, each made once and never changed."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from libs.cardlist import (
    ENTRY,
    Action,
    Columns,
    Entries,
    Form,
    Header,
    Issuer,
    NumberRange,
    Point,
    Purpose,
    Signer,
    Verifier,
    encode_change,
    encode_issuers,
    encode_list,
    encode_ranges,
)
from libs.cardlist.header import HEADER_LENGTH, read_header
from libs.clock import CITY_TZ, Clock
from services.blacklist.application.list_ports import Artefact, ListsUnitOfWork, Publication
from services.blacklist.domain.delays import Counts
from services.blacklist.domain.rows import KindHead, ListKind, Row


@dataclass(frozen=True, slots=True)
class _State:
    """The blacklist as columns, at one version."""

    version: int
    columns: Columns


class Publish:
    """Publishes whatever has a version without files.

    One process at a time does it; the others find its files. The blacklist stays in memory as columns between two
    publications, so that a change costs what it changes and not what is listed. A process that comes new to it reads
    the list once.

    Args:
        unit_of_work: Opens a transaction.
        clock: The centre's.
        signer: Holds the key.
        verifier: Trusts it; nothing is published that a terminal would refuse.
    """

    def __init__(
        self, unit_of_work: Callable[[], ListsUnitOfWork], clock: Clock, signer: Signer, verifier: Verifier
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._signer = signer
        self._verifier = verifier
        self._state: _State | None = None

    async def __call__(self) -> int:
        """One round; returns how many lists were published."""
        published = int(await self._blacklist())
        for kind in (ListKind.RANGES, ListKind.STAFF, ListKind.ISSUERS):
            published += await self._kind(kind)
        return published

    async def _blacklist(self) -> bool:
        if self._state is None:
            async with self._unit_of_work() as uow:
                head, newest = await uow.entries.head(), await uow.files.newest(ListKind.BLACKLIST)
                if head.version == (newest.version if newest else 0):
                    return False
                head, entries = await uow.files.all_entries()
            self._state = _State(head.version, await asyncio.to_thread(Columns.of_entries, entries))
        async with self._unit_of_work() as uow:
            if not await uow.files.only_publisher():
                return False
            head, base = await uow.entries.head(), await uow.files.newest(ListKind.BLACKLIST)
            if head.version == (base.version if base else 0):
                return False
            if self._state.version > head.version:
                # A database restored from a backup: what this process holds never was.
                self._state = None
                return False
            state = await self._follow(uow, self._state, head.version)
            now = self._clock.now()
            since = base.settled_until_s if base else 0
            # A clock set back must not bring times back that the base has forgotten.
            made_s = max(int(now.timestamp()), since)
            whole, header = await asyncio.to_thread(self._whole, state.columns, head.version, head.chain_hash, made_s)
            publication = Publication(
                ListKind.BLACKLIST, head.version, head.chain_hash, len(state.columns), made_s, now,
                whole[:HEADER_LENGTH],
            )  # fmt: skip
            delta = None
            if base is not None:
                put, taken = await uow.files.net(base.version, head.version)
                delta = await asyncio.to_thread(self.delta, base, publication, put, taken, header)
            # Published is what is ready, not what was begun.
            now = self._clock.now()
            publication = replace(publication, publish_time=now)
            await uow.files.publish(publication)
            await uow.files.keep(artefact_of(publication, whole), whole, now)
            if base is not None and delta is not None:
                await uow.files.keep(artefact_of(publication, delta, base.version), delta, now)
            counts = Counts()
            await uow.files.stamp(publication, counts)
            await uow.journeys.count(now.astimezone(CITY_TZ).date(), counts)
            await uow.files.announce(publication, base.version if base else 0)
            await uow.commit()
        self._state = state
        return True

    async def _follow(self, uow: ListsUnitOfWork, state: _State, version: int) -> _State:
        if state.version == version:
            return state
        put, taken = await uow.files.net(state.version, version)
        columns = await asyncio.to_thread(state.columns.change, put, taken)
        assert columns is not None, "what the chain removes, the columns have"
        return _State(version, columns)

    def _whole(self, columns: Columns, version: int, chain_hash: bytes, made_s: int) -> tuple[bytes, Header]:
        point = Point(version, chain_hash)
        whole = encode_list(columns, self._signer, point, created_s=made_s, settled_until_s=made_s)
        return whole, read_header(whole[:HEADER_LENGTH], self._verifier, Purpose.BLACKLIST, Form.WHOLE)

    def delta(
        self, base: Publication, target: Publication, put: Entries, taken: Entries, header: Header | None = None
    ) -> bytes:
        """The delta between two publications; the same arguments give the same bytes."""
        header = header or read_header(target.header, self._verifier, Purpose.BLACKLIST, Form.WHOLE)
        start = Point(base.version, base.chain_hash)
        return encode_change(
            start, header, target.header, put, taken, self._signer, settled_until_s=target.settled_until_s
        )

    def cut(self, publication: Publication, entries: Entries) -> bytes:
        """A whole list of fewer entries than its version has."""
        return encode_list(
            entries,
            self._signer,
            Point(publication.version, publication.chain_hash),
            created_s=publication.settled_until_s,
            settled_until_s=publication.settled_until_s,
            left_out=publication.row_count - len(entries),
        )

    async def _kind(self, kind: ListKind) -> bool:
        async with self._unit_of_work() as uow:
            newest = await uow.files.newest(kind)
            head = next(one for one in await uow.kinds.heads() if one.kind is kind)
            if head.version == (newest.version if newest else 0) or not await uow.files.only_publisher():
                return False
            # Its row's lock: rows and head are of one version. Changes are rare, and the files small.
            head = await uow.kinds.head_for_update(kind)
            newest = await uow.files.newest(kind)
            if newest is not None and newest.version == head.version:
                return False
            rows = await uow.kinds.rows(kind)
            now = self._clock.now()
            data = await asyncio.to_thread(self._file, head, rows, int(now.timestamp()))
            publication = Publication(
                kind, head.version, head.chain_hash, len(rows), int(now.timestamp()), now, data[:HEADER_LENGTH]
            )
            await uow.files.publish(publication)
            await uow.files.keep(artefact_of(publication, data), data, now)
            await uow.files.announce(publication, newest.version if newest else 0)
            await uow.commit()
        return True

    def _file(self, head: KindHead, rows: Sequence[Row], made_s: int) -> bytes:
        point = Point(head.version, head.chain_hash)
        if head.kind is ListKind.RANGES:
            spans = [NumberRange(row.first, row.last, Action(row.mode), row.reason, _seconds(row)) for row in rows]
            return encode_ranges(spans, self._signer, point, created_s=made_s)
        if head.kind is ListKind.ISSUERS:
            return encode_issuers(
                [Issuer(row.key, _seconds(row)) for row in rows], self._signer, point, created_s=made_s
            )
        entries = np.zeros(len(rows), dtype=ENTRY)
        for place, row in enumerate(rows):
            number, generation = np.frombuffer(row.key[:10], np.uint8), int.from_bytes(row.key[10:], "big")
            entries[place] = (number, generation, Action.ACCEPT, 0, _seconds(row))
        return encode_list(
            entries, self._signer, point, created_s=made_s, settled_until_s=made_s, purpose=Purpose.STAFF
        )


class DropOldFiles:
    """Drops files of versions that are not the newest once nobody can be in the middle of fetching them.

    The chain itself is never dropped: a delta from any version ever published can be made again, so what was removed
    from the list is known as removed until the last terminal has heard of it.
    """

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork], clock: Clock, keep: timedelta) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._keep = keep

    async def __call__(self) -> int:
        """One round; returns how many files were dropped."""
        async with self._unit_of_work() as uow:
            dropped = await uow.files.drop_old(self._clock.now() - self._keep)
            await uow.commit()
        return dropped


def artefact_of(
    publication: Publication, data: bytes, base_version: int = 0, entry_count_max: int = 0, left_out_count: int = 0
) -> Artefact:
    """What is said of a file of a publication."""
    return Artefact(
        publication.kind, publication.version, base_version, entry_count_max, left_out_count, len(data),
        hashlib.sha256(data).digest(),
    )  # fmt: skip


def _seconds(row: Row) -> int:
    return max(0, int(row.effective_time.timestamp()))
