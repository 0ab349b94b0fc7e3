"""Prove: recompute what must hold inside this service."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from services.blacklist.application.list_ports import FilesProof, KindsUnitOfWork
from services.blacklist.domain.chain import EMPTY_HASH
from services.blacklist.domain.rows import KindHead, ListKind, Row, hash_after


class ProveUnitOfWork(KindsUnitOfWork, Protocol):
    """What is looked at."""

    @property
    def files(self) -> FilesProof:
        """Publications and their files."""
        ...


@dataclass(frozen=True, slots=True)
class ProofLine:
    """One invariant looked at; the fields of `citycard.common.v1.ProofLine`."""

    invariant: str
    statement: str
    checked_count: int
    broken_count: int
    first_broken: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found.

    Attributes:
        lines: One per invariant.
        lost_count: Cards listed because their holder reported a loss, whatever an officer decided beside it.
        version: Newest version.
    """

    lines: tuple[ProofLine, ...]
    lost_count: int
    version: int


class Prove:
    """Reads only; all of it in one snapshot of the database."""

    def __init__(self, unit_of_work: Callable[[], ProveUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self) -> Proof:
        """Recompute the chain, the fold and the counts."""
        async with self._unit_of_work() as uow:
            head = await uow.entries.head()
            before, version, broken, first = EMPTY_HASH, 0, 0, ""
            async for changes in uow.entries.changes():
                for change in changes:
                    version += 1
                    right = change.version == version and change.chain_hash == change.hash_after(before)
                    broken += not right
                    first = first or ("" if right else f"version {change.version}")
                    # From the stored values: one changed row breaks one link, not all after it.
                    before, version = change.chain_hash, change.version
            fold = await uow.entries.prove_fold()
            kinds = await self._kinds(uow)
            looked, damaged, first_damaged = await uow.files.prove_files()
        ends = head.version == version and head.chain_hash == before
        lines = (
            ProofLine("I13", "the hash of every version follows from the one before and its change", version, broken,
                      first),
            ProofLine("I13", "the newest version is the end of the chain", 1, int(not ends),
                      "" if ends else f"version {head.version}"),
            ProofLine("I12", "every entry is what its changes add up to", fold.entry_count, fold.broken_count,
                      fold.first_broken),
            ProofLine("I12", "the newest version counts the cards that are listed", fold.listed_count,
                      abs(fold.listed_count - head.entry_count),
                      "" if fold.listed_count == head.entry_count else f"{head.entry_count} counted"),
            *kinds,
            ProofLine("I12", "every publication is of a version of its chain, every kept file has its bytes", looked,
                      damaged, first_damaged),
        )  # fmt: skip
        return Proof(lines, fold.lost_count, head.version)

    async def _kinds(self, uow: ProveUnitOfWork) -> tuple[ProofLine, ProofLine]:
        """Ranges, staff and issuers: the hashes, and the rows as what their changes add up to."""
        checked, broken, first = 0, 0, ""
        before = {head.kind: KindHead(head.kind) for head in await uow.kinds.heads()}
        folded: dict[ListKind, dict[bytes, Row]] = {kind: {} for kind in before}
        async for head, changes in uow.kinds.versions():
            last, rows = before[head.kind], folded[head.kind]
            for change in changes:
                if change.put:
                    rows[change.row.key] = replace(change.row, put_version=head.version)
                else:
                    rows.pop(change.row.key, None)
            assert head.create_time is not None, "a version has its moment"
            expected = hash_after(last.chain_hash, head.kind, last.version + 1, head.create_time, changes)
            right = (head.version, head.chain_hash, head.row_count) == (last.version + 1, expected, len(rows))
            checked, broken = checked + 1, broken + (not right)
            first = first or ("" if right else f"{head.kind.name} version {head.version}")
            before[head.kind] = head
        chain = ProofLine("I13", "the versions of ranges, staff and issuers are chains", checked, broken, first)
        checked, broken, first = 0, 0, ""
        for newest in await uow.kinds.heads():
            stored = {row.key: row for row in await uow.kinds.rows(newest.kind)}
            right = stored == folded[newest.kind] and newest == before[newest.kind]
            checked, broken = checked + len(stored), broken + (not right)
            first = first or ("" if right else newest.kind.name)
        return chain, ProofLine(
            "I12", "ranges, staff and issuers are what their changes add up to", checked, broken, first
        )
