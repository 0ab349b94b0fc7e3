"""Prove: recompute what must hold inside this service."""

from collections.abc import Callable
from dataclasses import dataclass

from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.chain import EMPTY_HASH


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

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
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
        )  # fmt: skip
        return Proof(lines, fold.lost_count, head.version)
