"""What the price audit and the gap ledger found as protobuf."""

from datetime import UTC, datetime

from citycard.clearing.v1 import clearing_pb2 as pb
from citycard.clearing.v1 import clearing_service_pb2 as service

from services.clearing.application.fare_audit import Explanation, PublishedPack
from services.clearing.application.messages import day, record_to_pb, timestamp
from services.clearing.application.ports import DeviationSum, StoredDeviation, StoredGap


def pack_to_pb(pack: PublishedPack) -> pb.FarePack:
    """One published pack."""
    return pb.FarePack(
        name=f"farePacks/{pack.id}",
        participant=f"participants/{pack.participant}" if pack.participant else "",
        pack_name=pack.name,
        version=pack.version,
        effective_time=timestamp(pack.effective_at),
    )


def deviation_to_pb(one: StoredDeviation) -> pb.FareDeviation:
    """One deviation."""
    return pb.FareDeviation(
        record=f"records/{one.terminal_number:012d}-{one.terminal_seq}",
        card=one.card,
        kind=pb.FareDeviationKind.ValueType(one.kind),
        rule_id=one.rule_id,
        industry=one.industry,
        card_main_type=one.card_main_type,
        list_price_fen=one.list_price_fen,
        amount_fen=one.amount_fen,
        expected_fen=one.expected_fen,
        settlement_date=day(one.settlement_date),
    )


def deviation_sum_to_pb(one: DeviationSum) -> pb.FareDeviationSum:
    """One sum."""
    return pb.FareDeviationSum(
        kind=pb.FareDeviationKind.ValueType(one.kind),
        key=one.key,
        record_count=one.record_count,
        amount_fen=one.amount_fen,
        expected_fen=one.expected_fen,
    )


def gap_to_pb(one: StoredGap) -> pb.Gap:
    """One gap."""
    message = pb.Gap(
        name=f"gaps/{one.id}",
        kind=pb.GapKind.ValueType(one.kind),
        holder=one.holder,
        first=one.first,
        last=one.last,
        participant=f"participants/{one.participant}" if one.participant else "",
        open_time=timestamp(one.opened_at),
        end=pb.GapEnd.ValueType(one.reason),
    )
    if one.closed_at is not None:
        message.close_time.CopyFrom(timestamp(one.closed_at))
    return message


def explanation_to_pb(one: Explanation) -> service.ExplainChargeResponse:
    """Why a record costs what it costs."""
    pack = one.pack
    return service.ExplainChargeResponse(
        record=record_to_pb(one.record),
        pack=pb.FarePack(
            name=f"farePacks/{pack.id}",
            participant=f"participants/{one.record.participant}" if pack.participant else "",
            pack_name=pack.pack.name,
            version=pack.pack.version,
            effective_time=timestamp(datetime.fromtimestamp(pack.effective_s, UTC)),
        ),
        steps=[
            pb.ChargeStep(rule_id=step.rule_id, text_zh=step.zh, text_en=step.en, amount_fen=step.amount_fen)
            for step in one.charge.steps
        ],
        expected_fen=one.charge.amount_fen,
        transfer_marked=one.transfer_marked,
    )
