"""Between the messages of the float's contract and the domain."""

from datetime import date, datetime

from citycard.account.v1 import float_service_pb2 as pb
from citycard.common.v1 import types_pb2

from libs.errors import RequestMalformed
from services.account.adapters.translate import account_name, timestamp
from services.account.domain.bank_statement import BankItem, BankLine, BankStatement, Reconciliation
from services.account.domain.float import WIDE_NUMBERS, DormancyRule, DormantPurse, FloatDay, city_day


def day_of(value: types_pb2.Date, field: str) -> date:
    """A day of the contract.

    Raises:
        RequestMalformed: There is no such day.
    """
    try:
        return date(value.year, value.month, value.day)
    except ValueError:
        raise RequestMalformed(field=field, description="is no day of the calendar") from None


def day_to_pb(value: date | None) -> types_pb2.Date | None:
    """A day as the contract writes it; None stays unset."""
    return None if value is None else types_pb2.Date(year=value.year, month=value.month, day=value.day)


def float_day_to_pb(found: FloatDay, *, closed: bool) -> pb.FloatDay:
    """A day of the float."""
    return pb.FloatDay(
        day=day_to_pb(found.day),
        as_of_time=timestamp(found.as_of),
        place=found.place,
        lines=[
            pb.FloatLine(
                product=line.product,
                age_days_min=line.age_days_min,
                card_count=line.card_count,
                issued_fen=line.issued_fen,
                used_fen=line.used_fen,
                refunded_fen=line.refunded_fen,
                liability_fen=line.liability_fen,
                dormant_count=line.dormant_count,
                dormant_fen=line.dormant_fen,
            )
            for line in found.lines
        ],
        booked_issued_fen=found.book.issued_fen,
        booked_used_fen=found.book.used_fen,
        booked_refunded_fen=found.book.refunded_fen,
        balances=[
            pb.NumberBalance(chart_number=number, balance_fen=balance) for number, balance in found.book.balances_fen
        ],
        differences=[
            pb.FloatDifference(what=what, purses_fen=purses, booked_fen=booked)
            for what, purses, booked in found.differences
        ],
        holds=found.holds,
        wide_fen=found.book.sum_fen(WIDE_NUMBERS),
        uncovered_fen=found.uncovered_fen,
        digest=found.digest(),
        closed=closed,
    )


def statement(request: pb.UploadBankStatementRequest, now: datetime) -> BankStatement:
    """The statement of a request; its values passed the rules of the schema.

    Raises:
        RequestMalformed: No day, a day to come, or a line that moves nothing.
    """
    day = day_of(request.day, "day")
    if day > city_day(now):
        raise RequestMalformed(field="day", description="is a day to come")
    for number, line in enumerate(request.lines):
        if not line.amount_fen:
            raise RequestMalformed(field=f"lines[{number}].amount_fen", description="moves nothing")
    lines = tuple(BankLine(line.amount_fen, line.reference, line.text) for line in request.lines)
    account = account_name(request.account)
    return BankStatement(account, day, request.opening_fen, request.closing_fen, lines, now)


def bank_item_to_pb(item: BankItem, today: date) -> pb.BankItem:
    """What differs, with its age."""
    end = today if item.close_time is None else city_day(item.close_time)
    return pb.BankItem(
        name=f"bankItems/{item.id}",
        account=f"accounts/{item.account}",
        kind=pb.BankItemKind.Value(f"BANK_ITEM_KIND_{item.kind.name}"),
        day=day_to_pb(item.day),
        age_days=max(0, (end - item.day).days),
        amount_fen=item.amount_fen,
        reference=item.reference,
        journal=f"journals/{item.journal}" if item.journal else "",
        text=item.text,
        open_time=timestamp(item.open_time),
        close_time=timestamp(item.close_time),
        outcome=pb.BankItemOutcome.Value(f"BANK_ITEM_OUTCOME_{item.outcome.value if item.outcome else 'UNSPECIFIED'}"),
        note=item.note,
    )


def reconciliation_to_pb(found: Reconciliation, today: date) -> pb.BankReconciliation:
    """Bank and book of a day."""
    assert found.day is None or found.unexplained_fen == 0, "bank and book differ by lines, entries and openings only"
    return pb.BankReconciliation(
        account=f"accounts/{found.account}",
        day=day_to_pb(found.day),
        bank_fen=found.bank_fen,
        booked_fen=found.booked_fen,
        difference_fen=found.difference_fen,
        not_in_book_fen=found.not_in_book_fen,
        not_at_bank_fen=found.not_at_bank_fen,
        opening_fen=found.opening_fen,
        chain_fen=found.chain_fen,
        items=[bank_item_to_pb(item, today) for item in found.items],
        agrees=found.agrees,
    )


def dormant_to_pb(found: DormantPurse) -> pb.DormantPurse:
    """A card that fell asleep."""
    return pb.DormantPurse(
        purse=f"purses/{found.key.name}",
        product=found.product,
        seen_time=timestamp(found.seen_time),
        since_day=day_to_pb(found.since),
        balance_fen=found.balance_fen,
        revive_time=timestamp(found.revive_time),
    )


def rule_to_pb(rule: DormancyRule) -> pb.DormancyRule:
    """A rule of dormancy."""
    return pb.DormancyRule(
        product=rule.product,
        silence_days=rule.silence_days,
        from_day=day_to_pb(rule.from_day),
        set_by=rule.set_by,
        set_time=timestamp(rule.set_time),
    )
