"""ReportHops and ReportHits: what came back from the terminals, and what is published of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np

from libs.clock import CITY_TZ, Clock
from libs.records import bcd
from libs.runtime.requests import RequestKey
from services.blacklist.application.list_ports import Hit, Journey, ListsUnitOfWork, Met, Reach, Words
from services.blacklist.domain.delays import Counts, Hop, percentile, seconds_of
from services.blacklist.domain.entry import CardKey
from services.blacklist.domain.errors import EntryUnknown, ReportMalformed
from services.blacklist.domain.rows import ListKind

_DAYS: Final = 7
_OUTCOME_MAX: Final = 3
# Where a moment still is one: the end of the year 9999.
_TIME_S_MAX: Final = 253_402_300_799


@dataclass(frozen=True, slots=True)
class HopDelay:
    """How long one hop took; seconds. See the contract."""

    hop: Hop
    count: int
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    max_s: float


class ReportHops:
    """Takes in what the gateway knows of the journeys."""

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(
        self, kind: ListKind, fetched: Sequence[tuple[int, datetime]], words: Words, request: RequestKey
    ) -> int:
        """Count a batch once; returns how many words were news.

        Args:
            kind: Which list.
            fetched: Published versions that the gateway holds, and since when.
            words: What terminals said.
            request: Repeated, it gets the first answer.

        Raises:
            ReportMalformed: Columns do not fit together.
        """
        count = len(words.versions)
        for field, length, expected in (
            ("terminal_numbers", len(words.terminals), 6 * count),
            ("offer_times_ms", len(words.offered_ms), count),
            ("acknowledge_times_ms", len(words.acknowledged_ms), count),
        ):
            if length != expected:
                raise ReportMalformed(field=field, expected=f"length {expected}")
        _check_digits(words.terminals, 6, "terminal_numbers")
        if ((words.acknowledged_ms <= 0) | (words.acknowledged_ms > _TIME_S_MAX * 1000)).any():
            raise ReportMalformed(field="acknowledge_times_ms", expected="above 0")
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, int)
            counts = Counts()
            if kind is ListKind.BLACKLIST:
                for version, at in sorted(fetched):
                    await uow.journeys.fetched(version, at, counts)
            news = await uow.journeys.said(kind, words, counts) if count else 0
            await uow.journeys.count(self._clock.now().astimezone(CITY_TZ).date(), counts)
            await uow.requests.answer(request, news)
            await uow.commit()
        return news


class ReportHits:
    """Takes in cards that were met."""

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, met: Met, request: RequestKey) -> int:
        """Count a batch once; returns how many of it are about cards listed now.

        Raises:
            ReportMalformed: Columns do not fit together.
        """
        check_met(met)
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, int)
            listed = await uow.journeys.met(met) if len(met.generations) else 0
            await uow.requests.answer(request, listed)
            await uow.commit()
        return listed


def check_met(met: Met) -> None:
    """Hold the columns of cards that were met against each other and their bounds.

    Raises:
        ReportMalformed: Columns do not fit together.
    """
    count = len(met.generations)
    for field, length, expected in (
        ("card_numbers", len(met.numbers), 10 * count),
        ("outcomes", len(met.outcomes), count),
        ("times_s", len(met.times_s), count),
        ("terminal_numbers", len(met.terminals), 6 * count),
    ):
        if length != expected:
            raise ReportMalformed(field=field, expected=f"length {expected}")
    _check_digits(met.numbers, 10, "card_numbers")
    _check_digits(met.terminals, 6, "terminal_numbers")
    if ((met.outcomes < 1) | (met.outcomes > _OUTCOME_MAX)).any():
        raise ReportMalformed(field="outcomes", expected="1 to 3")
    if (met.generations < 0).any():
        raise ReportMalformed(field="generations", expected="0 or more")
    if ((met.times_s <= 0) | (met.times_s > _TIME_S_MAX)).any():
        raise ReportMalformed(field="times_s", expected="seconds since 1970")


class GetDelays:
    """Percentiles of the hops."""

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, first: date | None = None, last: date | None = None) -> tuple[list[HopDelay], Reach]:
        """Over some days, both included.

        Args:
            first: None: six days before the last.
            last: None: today.
        """
        last = last or self._clock.now().astimezone(CITY_TZ).date()
        first = first or last - timedelta(days=_DAYS - 1)
        async with self._unit_of_work() as uow:
            measured = await uow.journeys.delays(first, last)
            reach = await uow.journeys.reach(ListKind.BLACKLIST)
        made = []
        for hop, buckets, counts in measured:
            p50_s, p90_s, p95_s, p99_s = (percentile(buckets, counts, share) for share in (0.5, 0.9, 0.95, 0.99))
            longest_s = seconds_of(int(buckets[-1]))
            made.append(HopDelay(Hop(hop), int(counts.sum()), p50_s, p90_s, p95_s, p99_s, longest_s))
        return made, reach


class GetEntryJourney:
    """The way of one entry."""

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, card: CardKey) -> Journey:
        """Read it.

        Raises:
            EntryUnknown: The card was never listed.
        """
        async with self._unit_of_work() as uow:
            journey = await uow.journeys.journey(card)
        if journey is None:
            raise EntryUnknown(entry=f"entries/{card}")
        return journey


class ListHits:
    """Cards that were met."""

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, after: tuple[bytes, int], size: int) -> Sequence[Hit]:
        """A page."""
        async with self._unit_of_work() as uow:
            return await uow.journeys.hits(after, size)

    async def one(self, card: CardKey) -> Hit:
        """One card.

        Raises:
            EntryUnknown: It was never met.
        """
        async with self._unit_of_work() as uow:
            hit = await uow.journeys.hit(card)
        if hit is None:
            raise EntryUnknown(entry=f"entries/{card}")
        return hit


def _check_digits(packed: bytes, width: int, field: str) -> None:
    table = np.frombuffer(packed, dtype=np.uint8).reshape(-1, width)
    if len(table) and not bcd.is_bcd(table).all():
        raise ReportMalformed(field=field, expected=f"{2 * width} digits each")
