"""ApportionmentService over gRPC: translate, call one use case, translate back."""

from collections.abc import Iterable
from dataclasses import dataclass

from citycard.clearing.v1 import apportionment_service_pb2 as service
from citycard.clearing.v1.apportionment_service_pb2_grpc import ApportionmentServiceServicer

from libs.runtime.identity import Context, caller
from libs.runtime.requests import request_key
from services.clearing.adapters.reading import bare, dated, day_of, scope
from services.clearing.application.apportionment import ApportionmentReads, CarryShares, PublishRules
from services.clearing.application.messages import day
from services.clearing.domain.apportion import AUTHORITY, SELF, Clause, FeeRule, Rules, Scope

_PARTY = "participants/"


def clause_from_pb(message: service.ApportionmentClause) -> Clause:
    """One clause."""
    wanted = message.scope
    return Clause(
        id=message.id,
        text_zh=message.text_zh,
        text_en=message.text_en,
        scope=Scope(
            participants=tuple(bare(one) for one in wanted.participants),
            operators=tuple(wanted.operators),
            industries=tuple(wanted.industries),
            lines=tuple(wanted.lines),
            card_types=tuple(wanted.card_types),
            transfer=wanted.transfer if wanted.HasField("transfer") else None,
        ),
        shares=tuple((one.party.removeprefix(_PARTY), one.weight) for one in message.shares),
    )


def rules_from_pb(message: service.ApportionmentRules) -> Rules:
    """One version.

    Raises:
        RequestMalformed: Its first day is no day of the calendar.
    """
    return Rules(
        effective_on=day_of("rules.effective_date", message.effective_date),
        fares=tuple(map(clause_from_pb, message.fares)),
        discounts=tuple(map(clause_from_pb, message.discounts)),
        fees=tuple(
            FeeRule(
                id=one.id,
                fee_class=service.FeeClass.Name(one.fee_class).removeprefix("FEE_CLASS_").lower(),
                participant=bare(one.participant),
                issuer=one.issuer_id,
                operators=tuple(one.operators),
                rate_bp=one.rate_bp,
                per_record_fen=one.per_record_fen,
                payee=bare(one.payee),
            )
            for one in message.fees
        ),
    )


def clauses_to_pb(clauses: Iterable[Clause]) -> Iterable[service.ApportionmentClause]:
    """Clauses."""
    for one in clauses:
        yield service.ApportionmentClause(
            id=one.id,
            text_zh=one.text_zh,
            text_en=one.text_en,
            scope=service.ApportionmentScope(
                participants=[_PARTY + name for name in one.scope.participants],
                operators=one.scope.operators,
                industries=one.scope.industries,
                lines=one.scope.lines,
                card_types=one.scope.card_types,
                transfer=one.scope.transfer,
            ),
            shares=[
                service.ApportionmentShare(
                    party=party if party == SELF or party.startswith(AUTHORITY) else _PARTY + party, weight=weight
                )
                for party, weight in one.shares
            ],
        )


def rules_to_pb(rules: Rules) -> service.ApportionmentRules:
    """One version."""
    return service.ApportionmentRules(
        effective_date=day(rules.effective_on),
        fares=clauses_to_pb(rules.fares),
        discounts=clauses_to_pb(rules.discounts),
        fees=[
            service.FeeRule(
                id=one.id,
                fee_class=service.FeeClass.Value(f"FEE_CLASS_{one.fee_class.upper()}"),
                participant=_PARTY + one.participant if one.participant else "",
                issuer_id=one.issuer,
                operators=one.operators,
                rate_bp=one.rate_bp,
                per_record_fen=one.per_record_fen,
                payee=_PARTY + one.payee if one.payee else "",
            )
            for one in rules.fees
        ],
    )


@dataclass(frozen=True, slots=True)
class ApportionmentUseCases:
    """Everything that the API calls."""

    publish: PublishRules
    carry: CarryShares
    reads: ApportionmentReads


class ApportionmentApi(ApportionmentServiceServicer):
    """The servicer."""

    def __init__(self, use_cases: ApportionmentUseCases) -> None:
        self._do = use_cases

    async def PublishRules(self, request: service.PublishRulesRequest, context: Context) -> service.ApportionmentRules:
        return rules_to_pb(await self._do.publish(rules_from_pb(request.rules), request_key(request, context)))

    async def GetRules(self, request: service.GetRulesRequest, context: Context) -> service.ApportionmentRules:
        return rules_to_pb(await self._do.reads.rules(day_of("settlement_date", request.settlement_date)))

    async def ListShares(self, request: service.ListSharesRequest, context: Context) -> service.ListSharesResponse:
        participant = scope(caller(context), request.participant)
        found = await self._do.reads.shares(participant, day_of("settlement_date", request.settlement_date))
        return service.ListSharesResponse(
            shares=[
                service.FareShare(
                    owner=_PARTY + owner,
                    party=_PARTY + party,
                    clause=one.clause,
                    operator_number=one.operator,
                    industry=one.industry,
                    line=one.line,
                    record_count=one.record_count,
                    amount_fen=one.amount_fen,
                )
                for owner, party, one in found
            ]
        )

    async def GetDayTotals(self, request: service.GetDayTotalsRequest, context: Context) -> service.DayTotals:
        found = await self._do.reads.totals(day_of("settlement_date", request.settlement_date))
        return service.DayTotals(
            totals=[
                service.LevelTotal(
                    level=one.level,
                    participant=_PARTY + one.participant if one.participant else "",
                    key=one.key,
                    record_count=one.record_count,
                    amount_fen=one.amount_fen,
                )
                for one in found.totals
            ],
            agree=found.agree,
        )

    async def CarryShares(self, request: service.CarrySharesRequest, context: Context) -> service.CarrySharesResponse:
        return service.CarrySharesResponse(carried_fen=await self._do.carry(*dated(request.name)))
