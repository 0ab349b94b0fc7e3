"""Domain facts as protobuf: what events and answers say."""

from collections.abc import Iterable
from datetime import UTC, date, datetime

from citycard.clearing.v1 import clearing_pb2 as pb
from citycard.common.v1 import types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.clearing.application.ports import StoredFile, StoredRecord, WindowRow
from services.clearing.domain.participant import Participant
from services.clearing.domain.statement import Statement

Verdicts = Iterable[tuple[int, int, int]]
"""(code, record count, amount in fen)."""


def timestamp(at: datetime) -> Timestamp:
    """An aware instant."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def instant(stamp: Timestamp) -> datetime:
    """An aware instant, UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def day(value: date | None) -> types_pb2.Date | None:
    """A local day; None stays None."""
    return None if value is None else types_pb2.Date(year=value.year, month=value.month, day=value.day)


def verdicts_to_pb(verdicts: Verdicts) -> list[pb.VerdictCount]:
    """Counts by code."""
    return [pb.VerdictCount(code=code, record_count=count, amount_fen=amount) for code, count, amount in verdicts]


def participant_to_pb(participant: Participant) -> pb.Participant:
    """One participant."""
    return pb.Participant(
        name=f"participants/{participant.id}",
        display_name_zh=participant.display_name_zh,
        display_name_en=participant.display_name_en,
        institution_id=participant.institution_id,
        operator_number=participant.operator_number,
        cut_off=participant.cut_off.isoformat(),
        time_zone=participant.time_zone,
        fee_rate_bp=participant.fee_rate_bp,
        served_institution_ids=participant.served,
        create_time=timestamp(participant.created_at),
    )


def file_to_pb(file: StoredFile, verdicts: Verdicts) -> pb.File:
    """One file."""
    message = pb.File(
        name=file.name,
        state=pb.FileState.ValueType(file.state),
        file_code=file.file_code,
        participant=f"participants/{file.participant}",
        batch_number=file.batch_number,
        business_date=day(file.business_date),
        record_count=file.record_count,
        total_fen=file.total_fen,
        verdicts=verdicts_to_pb(verdicts),
        settlement_date=day(file.settlement_date),
        store_time=timestamp(file.stored_at),
    )
    if file.judged_at is not None:
        message.judge_time.CopyFrom(timestamp(file.judged_at))
    return message


def record_to_pb(record: StoredRecord) -> pb.Record:
    """One record."""
    return pb.Record(
        name=f"records/{record.terminal_number:012d}-{record.terminal_seq}",
        card=f"cards/{'jt' if record.jt else 'cj'}-{record.card_number.hex()}",
        generation=record.generation,
        participant=f"participants/{record.participant}",
        kind=record.kind,
        amount_fen=record.amount_fen,
        list_price_fen=record.list_price_fen,
        code=record.code,
        card_counter=record.card_counter,
        balance_before_fen=record.balance_before_fen,
        transaction_time=Timestamp(seconds=record.transaction_s),
        settlement_date=day(record.settlement_date),
        file=record.file,
        file_index=record.file_index,
        clearing_reference=record.reference & 0xFFFFFFFF,
    )


def window_name(participant: str, settlement_date: date) -> str:
    """Resource name of a window."""
    return f"participants/{participant}/windows/{settlement_date:%Y%m%d}"


def window_to_pb(window: WindowRow, verdicts: Verdicts, totals: tuple[int, int, int, int]) -> pb.Window:
    """One window; `totals` are records taken, list price, amount paid and amount in suspense."""
    records, list_price, amount, suspense = totals
    message = pb.Window(
        name=window_name(window.participant, window.settlement_date),
        state=pb.WINDOW_STATE_OPEN if window.closed_at is None else pb.WINDOW_STATE_CLOSED,
        settlement_date=day(window.settlement_date),
        record_count=records,
        list_price_fen=list_price,
        amount_fen=amount,
        suspense_fen=suspense,
        verdicts=verdicts_to_pb(verdicts),
    )
    if window.closed_at is not None:
        message.close_time.CopyFrom(timestamp(window.closed_at))
    return message


def statement_to_pb(statement: Statement) -> pb.Statement:
    """One statement."""
    totals = statement.totals
    return pb.Statement(
        name=f"participants/{statement.participant}/statements/{statement.settlement_date:%Y%m%d}",
        settlement_date=day(statement.settlement_date),
        record_count=totals.record_count,
        list_price_fen=totals.list_price_fen,
        discount_fen=totals.discount_fen,
        gross_fen=totals.gross_fen,
        subsidy_fen=totals.subsidy_fen,
        fee_fen=totals.fee_fen,
        adjustment_fen=totals.adjustment_fen,
        net_fen=totals.net_fen,
        verdicts=verdicts_to_pb(statement.verdicts),
        st_file=statement.st_file,
        sha256=statement.sha256,
        records_digest=statement.records_digest,
        chain_hash=statement.chain_hash,
        statement_number=statement.number,
        payout_date=day(statement.payout_date),
        csv_file=statement.csv_file,
    )
