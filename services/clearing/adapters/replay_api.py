"""ReplayService over gRPC: translate, call one use case, translate back."""

import json
from dataclasses import dataclass

from citycard.clearing.v1 import dispute_service_pb2
from citycard.clearing.v1 import replay_service_pb2 as service
from citycard.clearing.v1.replay_service_pb2_grpc import ReplayServiceServicer

from libs.errors import RequestMalformed
from libs.runtime.identity import Context, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.clearing.adapters.dispute_api import adjustment_to_pb
from services.clearing.adapters.reading import bare, dated, day_of
from services.clearing.application.missed_discounts import FindMissedDiscounts, MissedReads, MissedRow, ProposePayback
from services.clearing.application.replay import ReplayDay, WhatIf


@dataclass(frozen=True, slots=True)
class ReplayUseCases:
    """Everything that the API calls."""

    replay: ReplayDay
    what_if: WhatIf
    find: FindMissedDiscounts
    reads: MissedReads
    payback: ProposePayback


def missed_to_pb(one: MissedRow) -> service.MissedDiscount:
    """One missed discount."""
    return service.MissedDiscount(
        record=f"records/{one.terminal_number:012d}-{one.terminal_seq}",
        record_before=f"records/{one.before_terminal:012d}-{one.before_seq}",
        card=f"cards/{one.card.lower()}",
        rule_id=one.rule_id,
        paid_fen=one.paid_fen,
        expected_fen=one.expected_fen,
        adjustment=f"adjustments/{one.adjustment_id}" if one.adjustment_id else "",
    )


class ReplayApi(ReplayServiceServicer):
    """The servicer."""

    def __init__(self, use_cases: ReplayUseCases) -> None:
        self._do = use_cases

    async def ReplayDay(self, request: service.ReplayDayRequest, context: Context) -> service.Replay:
        participant, day = dated(request.name)
        caller(context).must_own(participant)
        found = await self._do.replay(participant, day)
        return service.Replay(
            file_count=found.file_count, record_count=found.record_count, differences=found.differences
        )

    async def TryFares(self, request: service.TryFaresRequest, context: Context) -> service.TryFaresResponse:
        participant, day = dated(request.name)
        caller(context).must_own(participant)
        try:
            document = json.loads(request.document_json)
        except ValueError:
            raise RequestMalformed(field="document_json", description="must be a JSON document") from None
        sums = await self._do.what_if(participant, day, document)
        return service.TryFaresResponse(
            sums=[
                service.TriedFares(
                    industry=one.industry,
                    card_main_type=one.card_main_type,
                    record_count=one.record_count,
                    paid_fen=one.paid_fen,
                    would_fen=one.would_fen,
                )
                for one in sums
            ]
        )

    async def FindMissedDiscounts(
        self, request: service.FindMissedDiscountsRequest, context: Context
    ) -> service.FindMissedDiscountsResponse:
        found = await self._do.find(day_of("settlement_date", request.settlement_date))
        return service.FindMissedDiscountsResponse(
            looked_count=found.looked, found_count=found.found, found_fen=found.found_fen
        )

    async def ListMissedDiscounts(
        self, request: service.ListMissedDiscountsRequest, context: Context
    ) -> service.ListMissedDiscountsResponse:
        participant = bare(request.participant)
        caller(context).must_own(participant)
        day = day_of("settlement_date", request.settlement_date)
        after = page_key("ListMissedDiscounts", request.page_token, (int, int))
        size = page_size(request.page_size)
        key = (int(after[0] or 0), int(after[1] or 0)) if after else None
        page = await self._do.reads.page(participant, day, key, size)
        last = (page[-1].terminal_number, page[-1].terminal_seq) if len(page) == size else ()
        token = page_token("ListMissedDiscounts", last) if last else ""
        return service.ListMissedDiscountsResponse(discounts=map(missed_to_pb, page), next_page_token=token)

    async def ProposePayback(
        self, request: service.ProposePaybackRequest, context: Context
    ) -> dispute_service_pb2.AdjustmentRequest:
        day = day_of("settlement_date", request.settlement_date)
        key = request_key(request, context)
        return adjustment_to_pb(await self._do.payback(bare(request.participant), day, key))
