"""FindGaps and ListGaps: counters that no record has brought, found set-based, kept with their age and their end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from libs.clock import Clock
from services.clearing.application.ports import StoredGap, UnitOfWork
from services.clearing.domain.gaps import LOST_AFTER, GapEnd, settle


@dataclass(frozen=True, slots=True)
class GapsFound:
    """What a look changed."""

    opened: int
    ended: int


class FindGaps:
    """Looks at the counters that moved since the last look."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self) -> GapsFound:
        """One look; a second one at once changes nothing."""
        async with self._unit_of_work() as uow:
            now = self._clock.now()
            since = await uow.gaps.since()
            touched, old = await uow.gaps.open(since, now - LOST_AFTER)
            new, ended = settle(touched, await uow.gaps.missing(since, now), now)
            ended += [replace(gap, end=GapEnd.LOST) for gap in old]
            await uow.gaps.end(ended, now)
            await uow.gaps.add(new)
            await uow.gaps.looked()
            await uow.commit()
        return GapsFound(len(new), len(ended))


class ListGaps:
    """Reads the gap ledger."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(
        self, participant: str | None, kind: int, *, open_only: bool, after: int, size: int
    ) -> Sequence[StoredGap]:
        """Gaps in the order in which they were found."""
        async with self._unit_of_work() as uow:
            found: list[StoredGap] = await uow.gaps.page(participant, kind, open_only=open_only, after=after, size=size)
        return found
