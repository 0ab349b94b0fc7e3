"""The gRPC face of the lists: rows, files, journeys, hits."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from citycard.blacklist.v1 import blacklist_pb2 as blacklist_pb
from citycard.blacklist.v1 import list_pb2 as pb
from citycard.blacklist.v1 import list_service_pb2 as service_pb
from citycard.blacklist.v1.list_service_pb2_grpc import ListServiceServicer
from citycard.common.v1 import types_pb2 as common_pb

from libs.clock import Clock
from libs.errors import RequestMalformed
from libs.runtime.identity import Context
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.blacklist.adapters.list_rows import key_of_pb, row_of_pb, row_to_pb
from services.blacklist.adapters.sql_journeys import moment_of_ms
from services.blacklist.adapters.times import write
from services.blacklist.application.change_rows import BatchChangeRows
from services.blacklist.application.get_artefact import GetArtefact, Wanted
from services.blacklist.application.list_ports import Hit, Journey, ListsUnitOfWork, Met, Publication, Ranking, Words
from services.blacklist.application.rank import GetRanking, SetRanking
from services.blacklist.application.report import GetDelays, GetEntryJourney, ListHits, ReportHits, ReportHops
from services.blacklist.domain.chain import Head
from services.blacklist.domain.delays import I64, NOT_YET
from services.blacklist.domain.entry import CardKey
from services.blacklist.domain.errors import ReportMalformed
from services.blacklist.domain.rows import KindHead, ListKind

_TIME_MS_MAX = 253_402_300_799_000


@dataclass(frozen=True, slots=True)
class ListUseCases:
    """What the methods call."""

    change_rows: BatchChangeRows
    get_artefact: GetArtefact
    report_hops: ReportHops
    report_hits: ReportHits
    list_hits: ListHits
    get_entry_journey: GetEntryJourney
    get_delays: GetDelays
    set_ranking: SetRanking
    get_ranking: GetRanking


class ListApi(ListServiceServicer):
    """Translates; decides nothing.

    Args:
        use_cases: What to call.
        unit_of_work: For plain reading.
        clock: The centre's.
        effective_delay: Before a range holds that names no time.
        signers: Key id and public key of each key to be believed.
    """

    def __init__(
        self,
        use_cases: ListUseCases,
        unit_of_work: Callable[[], ListsUnitOfWork],
        clock: Clock,
        effective_delay: timedelta,
        signers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        self._do = use_cases
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._effective_delay = effective_delay
        self._signers = signers

    async def BatchChangeRows(self, request: service_pb.BatchChangeRowsRequest, context: Context) -> pb.ListState:
        """See the contract, as for all methods here."""
        kind = ListKind(request.list)
        now = self._clock.now()
        effective_time = now + self._effective_delay if kind is ListKind.RANGES else now
        put = [row_of_pb(kind, row, index, effective_time) for index, row in enumerate(request.put)]
        removed = [key_of_pb(kind, row, index) for index, row in enumerate(request.remove)]
        head = await self._do.change_rows(kind, put, removed, request_key(request, context))
        return _state(head, None)

    async def ListRows(self, request: service_pb.ListRowsRequest, context: Context) -> service_pb.ListRowsResponse:
        """A page of rows."""
        kind, name = ListKind(request.list), f"ListRows?list={request.list}"
        key = page_key(name, request.page_token, (str,))
        size = page_size(request.page_size)
        async with self._unit_of_work() as uow:
            rows = await uow.kinds.page(kind, bytes.fromhex(str(key[0])) if key else b"", size)
        token = page_token(name, (rows[-1].key.hex(),)) if len(rows) == size else ""
        return service_pb.ListRowsResponse(rows=[row_to_pb(kind, row) for row in rows], next_page_token=token)

    async def GetLists(self, request: service_pb.GetListsRequest, context: Context) -> service_pb.GetListsResponse:
        """Where all lists stand."""
        async with self._unit_of_work() as uow:
            head = await uow.entries.head()
            heads: list[Head | KindHead] = [head, *await uow.kinds.heads()]
            states = []
            for kind, one in zip(ListKind, heads, strict=True):
                newest = await uow.files.newest(kind)
                state = _state(one, newest)
                whole = await uow.files.artefact(kind, newest.version, 0, 0) if newest else None
                state.file_bytes = whole.size_bytes if whole else 0
                states.append(state)
        signers = [service_pb.ListSigner(key_id=key_id, public_key=key) for key_id, key in self._signers]
        return service_pb.GetListsResponse(lists=states, signers=signers)

    async def GetArtefact(
        self, request: service_pb.GetArtefactRequest, context: Context
    ) -> AsyncIterator[pb.ArtefactPart]:
        """A published file, in parts."""
        wanted = Wanted(
            ListKind(request.list), request.base_version, request.version, request.offset, request.entry_count_max
        )
        async for part in self._do.get_artefact(wanted):
            yield pb.ArtefactPart(
                version=part.artefact.version,
                base_version=part.artefact.base_version,
                size_bytes=part.artefact.size_bytes,
                sha256=part.artefact.sha256,
                offset=part.offset,
                data=part.data,
                left_out_count=part.artefact.left_out_count,
            )

    async def ReportHops(
        self, request: service_pb.ReportHopsRequest, context: Context
    ) -> service_pb.ReportHopsResponse:
        """What became of published versions."""
        if len(request.fetched_versions) != len(request.fetch_times_ms):
            raise ReportMalformed(field="fetch_times_ms", expected=f"length {len(request.fetched_versions)}")
        if any(not 0 < time_ms <= _TIME_MS_MAX for time_ms in request.fetch_times_ms):
            raise ReportMalformed(field="fetch_times_ms", expected="milliseconds since 1970")
        fetched = [
            (version, moment_of_ms(time_ms))
            for version, time_ms in zip(request.fetched_versions, request.fetch_times_ms, strict=True)
        ]
        offered = _column(request.offer_times_ms)
        words = Words(
            request.terminal_numbers,
            _column(request.versions),
            np.where(offered > 0, np.minimum(offered, _TIME_MS_MAX), NOT_YET),
            _column(request.acknowledge_times_ms),
        )
        news = await self._do.report_hops(ListKind(request.list), fetched, words, request_key(request, context))
        return service_pb.ReportHopsResponse(news_count=news)

    async def ReportHits(
        self, request: service_pb.ReportHitsRequest, context: Context
    ) -> service_pb.ReportHitsResponse:
        """Cards that were met."""
        met = Met(
            request.card_numbers,
            _column(request.generations),
            np.frombuffer(request.outcomes, dtype=np.uint8).astype(np.int64),
            _column(request.times_s),
            request.terminal_numbers,
        )
        return service_pb.ReportHitsResponse(
            listed_count=await self._do.report_hits(met, request_key(request, context))
        )

    async def ListHits(self, request: service_pb.ListHitsRequest, context: Context) -> service_pb.ListHitsResponse:
        """How often cards were met."""
        if request.name:
            # Generation 0 stands for "not known" here and nowhere else.
            name, _, generation = request.name.removeprefix("entries/").partition(".")
            card = CardKey.parse(f"{name}.{int(generation) or 1}")
            hit = await self._do.list_hits.one(CardKey(card.scheme, card.digits, int(generation)))
            return service_pb.ListHitsResponse(hits=[_hit(hit)])
        key = page_key("ListHits", request.page_token, (str, int))
        after = (bytes.fromhex(str(key[0])), int(key[1] or 0)) if key else (b"", -1)
        size = page_size(request.page_size)
        hits = await self._do.list_hits(after, size)
        last = hits[-1] if len(hits) == size else None
        token = page_token("ListHits", (last.card.digits, last.generation)) if last else ""
        return service_pb.ListHitsResponse(hits=map(_hit, hits), next_page_token=token)

    async def GetEntryJourney(self, request: service_pb.GetEntryJourneyRequest, context: Context) -> pb.EntryJourney:
        """The way of one entry."""
        return _journey(await self._do.get_entry_journey(CardKey.parse(request.name.removeprefix("entries/"))))

    async def GetDelays(self, request: service_pb.GetDelaysRequest, context: Context) -> service_pb.GetDelaysResponse:
        """Percentiles."""
        first, last = _day("day_min", request, request.day_min), _day("day_max", request, request.day_max)
        delays, reach = await self._do.get_delays(first, last)
        hops = [
            pb.HopDelay(
                hop=pb.Hop.ValueType(one.hop),
                count=one.count,
                p50_s=one.p50_s,
                p90_s=one.p90_s,
                p95_s=one.p95_s,
                p99_s=one.p99_s,
                max_s=one.max_s,
            )
            for one in delays
        ]
        return service_pb.GetDelaysResponse(
            hops=hops,
            terminal_count=reach.terminal_count,
            current_count=reach.current_count,
            oldest_version=reach.oldest_version,
        )

    async def SetRanking(self, request: service_pb.SetRankingRequest, context: Context) -> pb.ListRanking:
        """Another ranking."""
        ranking = Ranking(tuple(map(int, request.ranking.reasons)), tuple(request.ranking.home_prefixes))
        return _ranking(await self._do.set_ranking(ranking, request_key(request, context)))

    async def GetRanking(self, request: service_pb.GetRankingRequest, context: Context) -> pb.ListRanking:
        """The ranking in force."""
        return _ranking(await self._do.get_ranking())


def _column(values: Any) -> I64:
    return np.array(values, dtype=np.int64)


def _state(head: Head | KindHead, newest: Publication | None) -> pb.ListState:
    blacklist = isinstance(head, Head)
    state = pb.ListState(
        list=pb.ListKind.ValueType(ListKind.BLACKLIST if isinstance(head, Head) else head.kind),
        version=head.version,
        row_count=head.entry_count if isinstance(head, Head) else head.row_count,
        chain_hash=head.chain_hash,
        published_version=newest.version if newest else 0,
    )
    assert blacklist == (state.list == pb.LIST_KIND_BLACKLIST), "heads come in the order of their lists"
    write(state.create_time, head.create_time)
    write(state.publish_time, newest.publish_time if newest else None)
    return state


def _journey(journey: Journey) -> pb.EntryJourney:
    message = pb.EntryJourney(
        name=f"entries/{journey.entry.card}",
        version=journey.version,
        acknowledge_count=journey.acknowledge_count,
        waiting_count=journey.waiting_count,
    )
    for name in (
        "report_time",
        "version_time",
        "publish_time",
        "fetch_time",
        "first_offer_time",
        "first_acknowledge_time",
        "last_acknowledge_time",
        "liability_time",
    ):
        write(getattr(message, name), getattr(journey, name))
    return message


def _hit(hit: Hit) -> pb.EntryHits:
    message = pb.EntryHits(
        name=f"entries/{hit.card.scheme}-{hit.card.digits}.{hit.generation}",
        locked_count=hit.locked_count,
        refused_count=hit.refused_count,
        passed_count=hit.passed_count,
        last_terminal_number=hit.last_terminal_number,
    )
    write(message.first_time, hit.first_time)
    write(message.last_time, hit.last_time)
    return message


def _ranking(ranking: Ranking) -> pb.ListRanking:
    reasons = [blacklist_pb.ListReason.ValueType(reason) for reason in ranking.reasons]
    return pb.ListRanking(reasons=reasons, home_prefixes=ranking.home_prefixes)


def _day(field: str, request: service_pb.GetDelaysRequest, day: common_pb.Date) -> date | None:
    if not request.HasField("day_min" if field == "day_min" else "day_max"):
        return None
    try:
        return date(day.year, day.month, day.day)
    except ValueError:
        raise RequestMalformed(field=field, description="no such day") from None
