"""DisputeService over gRPC: translate, call one use case, translate back."""

from dataclasses import dataclass

from citycard.clearing.v1 import dispute_service_pb2 as service
from citycard.clearing.v1.dispute_service_pb2_grpc import DisputeServiceServicer

from libs.clock import CITY_TZ, Clock
from libs.runtime.identity import Context, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.clearing.adapters.reading import bare, day_of, scope
from services.clearing.application.disputes import (
    AnswerDispute,
    DecideAdjustment,
    DisputeReads,
    FileDisputes,
    ProposeAdjustment,
)
from services.clearing.application.messages import day, timestamp
from services.clearing.application.settlement_rows import AdjustmentRow, Contra, DisputeRow, DisputeState, RequestState
from services.clearing.domain.adjustment import AdjustmentKind


@dataclass(frozen=True, slots=True)
class DisputeUseCases:
    """Everything that the API calls."""

    file: FileDisputes
    answer: AnswerDispute
    propose: ProposeAdjustment
    decide: DecideAdjustment
    reads: DisputeReads
    clock: Clock


def adjustment_to_pb(one: AdjustmentRow) -> service.AdjustmentRequest:
    """One adjustment."""
    return service.AdjustmentRequest(
        name=one.name,
        participant=f"participants/{one.participant}",
        amount_fen=one.amount_fen,
        contra=service.ContraAccount.ValueType(one.contra),
        kind=one.kind,
        original_date=day(one.original_date),
        reason=one.reason,
        state=service.AdjustmentState.ValueType(one.state),
        made_by=one.made_by,
        decided_by=one.decided_by,
        post_date=day(one.posted_on),
    )


class DisputeApi(DisputeServiceServicer):
    """The servicer."""

    def __init__(self, use_cases: DisputeUseCases) -> None:
        self._do = use_cases

    def _dispute(self, one: DisputeRow) -> service.Dispute:
        today = self._do.clock.now().astimezone(CITY_TZ).date()
        return service.Dispute(
            name=one.name,
            participant=f"participants/{one.participant}",
            record=one.record,
            dispute_number=one.dispute_number,
            reason=one.reason,
            request=one.request,
            claimed_fen=one.claimed_fen,
            settlement_date=day(one.settlement_date),
            state=service.DisputeState.ValueType(one.state),
            file_time=timestamp(one.filed_at),
            answer_date=day(one.answer_date),
            overdue=one.state is DisputeState.FILED and today > one.answer_date,
            answer=one.answer,
            adjustment=f"adjustments/{one.adjustment_id}" if one.adjustment_id else "",
        )

    async def FileDisputes(
        self, request: service.FileDisputesRequest, context: Context
    ) -> service.FileDisputesResponse:
        caller(context).must_own(bare(request.participant))
        filed = await self._do.file(bare(request.participant), request.ds_file)
        return service.FileDisputesResponse(disputes=map(self._dispute, filed))

    async def ListDisputes(
        self, request: service.ListDisputesRequest, context: Context
    ) -> service.ListDisputesResponse:
        participant = scope(caller(context), request.participant)
        after = page_key("ListDisputes", request.page_token, (int,))
        size = page_size(request.page_size)
        page = await self._do.reads.disputes(participant, request.state, int(after[0] or 0) if after else 0, size)
        token = page_token("ListDisputes", (page[-1].id,)) if len(page) == size else ""
        return service.ListDisputesResponse(disputes=map(self._dispute, page), next_page_token=token)

    async def AnswerDispute(self, request: service.AnswerDisputeRequest, context: Context) -> service.Dispute:
        key = request_key(request, context)
        return self._dispute(await self._do.answer(int(bare(request.name)), request.upheld_fen, request.answer, key))

    async def ProposeAdjustment(
        self, request: service.ProposeAdjustmentRequest, context: Context
    ) -> service.AdjustmentRequest:
        original = day_of("original_date", request.original_date) if request.HasField("original_date") else None
        wanted = AdjustmentRow(
            id=0,
            participant=bare(request.participant),
            amount_fen=request.amount_fen,
            contra=Contra(request.contra),
            kind=AdjustmentKind.MANUAL,
            original_date=original,
            reason=request.reason,
            state=RequestState.PROPOSED,
            made_by=caller(context).uri,
        )
        return adjustment_to_pb(await self._do.propose(wanted, request_key(request, context)))

    async def DecideAdjustment(
        self, request: service.DecideAdjustmentRequest, context: Context
    ) -> service.AdjustmentRequest:
        key = request_key(request, context)
        return adjustment_to_pb(await self._do.decide(int(bare(request.name)), key, approve=request.approve))

    async def ListAdjustments(
        self, request: service.ListAdjustmentsRequest, context: Context
    ) -> service.ListAdjustmentsResponse:
        participant = scope(caller(context), request.participant)
        after = page_key("ListAdjustments", request.page_token, (int,))
        size = page_size(request.page_size)
        page = await self._do.reads.adjustments(participant, request.state, int(after[0] or 0) if after else 0, size)
        token = page_token("ListAdjustments", (page[-1].id,)) if len(page) == size else ""
        return service.ListAdjustmentsResponse(adjustments=map(adjustment_to_pb, page), next_page_token=token)
