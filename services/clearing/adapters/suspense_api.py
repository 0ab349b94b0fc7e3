"""SuspenseService over gRPC: translate, call one use case, translate back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from citycard.clearing.v1 import clearing_service_pb2
from citycard.clearing.v1 import suspense_service_pb2 as service
from citycard.clearing.v1.suspense_service_pb2_grpc import SuspenseServiceServicer

from libs.runtime.identity import Context, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.clearing.adapters.reading import bare, file_parts, scope
from services.clearing.application.further_results import FurtherResult, FurtherResults, MakeFurtherResults
from services.clearing.application.messages import day, timestamp
from services.clearing.application.suspense import (
    ApproveSuspenseItem,
    CorrectSuspenseItem,
    DecideSuspenseItem,
    InvestigateSuspenseItem,
    ItemStory,
    SetLiabilityRule,
    SuspenseReads,
)
from services.clearing.domain.suspense import Condition, Decision, ItemState, LiabilityRule, Shares, SuspenseItem


@dataclass(frozen=True, slots=True)
class SuspenseUseCases:
    """Everything that the API calls."""

    investigate: InvestigateSuspenseItem
    correct: CorrectSuspenseItem
    decide: DecideSuspenseItem
    approve: ApproveSuspenseItem
    set_rule: SetLiabilityRule
    reads: SuspenseReads
    make_results: MakeFurtherResults
    results: FurtherResults


def rule_to_pb(rule: LiabilityRule) -> service.LiabilityRule:
    """One rule."""
    return service.LiabilityRule(
        code=rule.code,
        condition=service.LiabilityCondition.ValueType(rule.condition),
        decision=service.SuspenseDecision.ValueType(rule.decision),
        text_zh=rule.text_zh,
        text_en=rule.text_en,
    )


def item_to_pb(item: SuspenseItem) -> service.SuspenseItem:
    """One item."""
    message = service.SuspenseItem(
        name=item.name,
        participant=f"participants/{item.participant}",
        record=f"records/{item.terminal_number:012d}-{item.terminal_seq}",
        card=f"cards/{item.card}",
        code=item.code,
        debited=item.debited,
        amount_fen=item.amount_fen,
        settlement_date=day(item.settlement_date),
        file=item.file,
        file_index=item.file_index,
        open_time=timestamp(item.opened_at),
        state=service.SuspenseState.ValueType(item.state),
        decision=service.SuspenseDecision.ValueType(item.decision),
        pay_fen=item.shares.pay_fen,
        return_fen=item.shares.return_fen,
        write_off_fen=item.shares.write_off_fen,
        reason=item.reason,
        decided_by=item.decided_by,
        approved_by=item.approved_by,
        post_date=day(item.posted_on),
    )
    if item.posted_at is not None:
        message.post_time.CopyFrom(timestamp(item.posted_at))
    if item.state is not ItemState.POSTED:
        message.allowed_decisions.extend(service.SuspenseDecision.ValueType(one) for one in item.decisions)
    if item.correction is not None:
        message.correction.CopyFrom(
            service.RecordCorrection(
                payee=f"participants/{item.correction.payee}",
                amount_fen=item.correction.amount_fen,
                reason=item.correction.reason,
                made_by=item.correction.made_by,
                make_time=timestamp(item.correction.made_at),
            )
        )
    return message


def story_to_pb(story: ItemStory) -> service.SuspenseItem:
    """One item with its history."""
    message = item_to_pb(story.item)
    message.events.add(action="opened", person="citycard://service/clearing", time=timestamp(story.item.opened_at))
    for one in story.events:
        message.events.add(action=one.action, person=one.person, note=one.note, time=timestamp(one.at))
    if story.advice is not None:
        message.advice.CopyFrom(rule_to_pb(story.advice))
    return message


def result_to_pb(one: FurtherResult) -> service.FurtherResult:
    """One further result file."""
    return service.FurtherResult(
        name=f"participants/{one.participant}/furtherResults/{one.number}",
        file=one.file,
        record_count=one.record_count,
        settled_fen=one.settled_fen,
        sha256=one.sha256,
        make_time=timestamp(one.made_at),
    )


class SuspenseApi(SuspenseServiceServicer):
    """The servicer."""

    def __init__(self, use_cases: SuspenseUseCases) -> None:
        self._do = use_cases

    async def ListSuspenseItems(
        self, request: service.ListSuspenseItemsRequest, context: Context
    ) -> service.ListSuspenseItemsResponse:
        participant = scope(caller(context), request.participant)
        after = page_key("ListSuspenseItems", request.page_token, (int,))
        size = page_size(request.page_size)
        start = int(after[0] or 0) if after else 0
        page = await self._do.reads.page(participant, request.state, request.code, start, size)
        token = page_token("ListSuspenseItems", (page[-1].id,)) if len(page) == size else ""
        return service.ListSuspenseItemsResponse(items=map(item_to_pb, page), next_page_token=token)

    async def GetSuspenseItem(self, request: service.GetSuspenseItemRequest, context: Context) -> service.SuspenseItem:
        item = await self._do.reads.item(int(bare(request.name)))
        caller(context).must_own(item.participant)
        return story_to_pb(await self._do.reads.story(item, list_late=request.list_late))

    async def InvestigateSuspenseItem(
        self, request: service.InvestigateSuspenseItemRequest, context: Context
    ) -> service.SuspenseItem:
        key = request_key(request, context)
        return item_to_pb(await self._do.investigate(int(bare(request.name)), request.note, key))

    async def CorrectSuspenseItem(
        self, request: service.CorrectSuspenseItemRequest, context: Context
    ) -> service.SuspenseItem:
        key = request_key(request, context)
        payee = bare(request.payee)
        return item_to_pb(
            await self._do.correct(int(bare(request.name)), payee, request.amount_fen, request.reason, key)
        )

    async def DecideSuspenseItem(
        self, request: service.DecideSuspenseItemRequest, context: Context
    ) -> service.SuspenseItem:
        shares = Shares(request.pay_fen, request.return_fen, request.write_off_fen)
        decision = Decision(request.decision)
        key = request_key(request, context)
        return item_to_pb(await self._do.decide(int(bare(request.name)), decision, shares, request.reason, key))

    async def ApproveSuspenseItem(
        self, request: service.ApproveSuspenseItemRequest, context: Context
    ) -> service.SuspenseItem:
        return item_to_pb(await self._do.approve(int(bare(request.name)), request_key(request, context)))

    async def ReportSuspenseAges(
        self, request: service.ReportSuspenseAgesRequest, context: Context
    ) -> service.ReportSuspenseAgesResponse:
        ages = await self._do.reads.ages(scope(caller(context), request.participant))
        return service.ReportSuspenseAgesResponse(
            ages=[
                service.SuspenseAge(
                    participant=f"participants/{one.participant}",
                    debited=one.debited,
                    days_above=one.days_above,
                    item_count=one.item_count,
                    amount_fen=one.amount_fen,
                    oldest_time=timestamp(one.oldest_at),
                )
                for one in ages
            ]
        )

    async def ListLiabilityRules(
        self, request: service.ListLiabilityRulesRequest, context: Context
    ) -> service.ListLiabilityRulesResponse:
        return service.ListLiabilityRulesResponse(rules=map(rule_to_pb, await self._do.reads.rules()))

    async def SetLiabilityRule(
        self, request: service.SetLiabilityRuleRequest, context: Context
    ) -> service.LiabilityRule:
        wanted = request.rule
        rule = LiabilityRule(
            wanted.code, Condition(wanted.condition), Decision(wanted.decision), wanted.text_zh, wanted.text_en
        )
        return rule_to_pb(await self._do.set_rule(rule))

    async def MakeFurtherResults(
        self, request: service.MakeFurtherResultsRequest, context: Context
    ) -> service.MakeFurtherResultsResponse:
        made = await self._do.make_results(bare(request.participant))
        return service.MakeFurtherResultsResponse(results=map(result_to_pb, made))

    async def ListFurtherResults(
        self, request: service.ListFurtherResultsRequest, context: Context
    ) -> service.ListFurtherResultsResponse:
        participant = bare(request.participant)
        caller(context).must_own(participant)
        after = page_key("ListFurtherResults", request.page_token, (int,))
        size = page_size(request.page_size)
        page = await self._do.results.page(participant, int(after[0] or 0) if after else 0, size)
        token = page_token("ListFurtherResults", (page[-1].number,)) if len(page) == size else ""
        return service.ListFurtherResultsResponse(results=map(result_to_pb, page), next_page_token=token)

    async def GetFurtherResult(
        self, request: service.GetFurtherResultRequest, context: Context
    ) -> AsyncIterator[clearing_service_pb2.FilePart]:
        _, participant, _, number = request.name.split("/")
        caller(context).must_own(participant)
        content = await self._do.results.content(participant, int(number))
        for part in file_parts(content):
            yield clearing_service_pb2.FilePart(data=part)
