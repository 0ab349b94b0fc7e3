"""Positions, lines of the book and statements as pure functions."""

from datetime import UTC, date, datetime, time

from hypothesis import given
from hypothesis import strategies as st

from libs.records.batch import FileType, decode_batch
from libs.records.statement import decode_statement
from services.clearing.domain.fees import fee_of
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, PositionKey, posting_lines
from services.clearing.domain.statement import FIRST_LINK, make_statement

ISSUER, ACQUIRER, CENTRE = "01019901FFFFFFFF", "11139901FFFFFFFF", "00009901FFFFFFFF"
DAY = date(2025, 1, 3)
BUS = Participant(
    "bus", 1, "巴士", "Bus", ACQUIRER, 17, time(22), "Asia/Shanghai", 50, (), datetime(2025, 1, 1, tzinfo=UTC)
)


def a_position(
    code: int = 0, kind: int = 1, count: int = 1, amount: int = 200, price: int = 250, main_type: int = 1
) -> Position:
    return Position(PositionKey(1, DAY, ISSUER, ACQUIRER, 17, 2, kind, main_type, code), count, amount, price)


def a_statement(positions: list[Position]):  # type: ignore[no-untyped-def]  # a helper of three lines
    return make_statement(
        BUS, DAY, positions, number=1, centre=CENTRE, records_digest=bytes(32), previous_link=FIRST_LINK
    )


def test_the_fee_is_rounded_once_per_line() -> None:
    # Vector `fee-example`.
    assert [fee_of(gross, 50) for gross in (600, 199, 100, 12_345_678, 99)] == [3, 1, 1, 61_728, 0]


def test_where_the_money_of_each_verdict_goes() -> None:
    positions = [a_position(code) for code in (0, 1, 2, 10, 11, 12, 20, 24, 25, 26, 27, 31, 50)] + [a_position(kind=6)]
    lines = {line.credit_account: (line.amount_fen, line.record_count) for line in posting_lines(positions, {1: "bus"})}
    assert lines == {"accounts/2203.bus": (800, 4), "accounts/2205.bus": (400, 2), "accounts/2206": (200, 1)}


def test_a_statement_sums_what_is_paid_and_nothing_else() -> None:
    statement = a_statement([a_position(code, kind) for code in (0, 25, 20, 12, 1) for kind in (1, 6)])
    (line,) = decode_statement(decode_batch(statement.st_file, FileType.ST).records)
    assert (line.count, line.gross_fen, line.fee_fen, line.net_fen) == (2, 400, 2, 398)
    assert statement.verdicts == ((0, 4, 800), (20, 2, 400))


@given(
    st.lists(
        st.sampled_from([a_position(), a_position(24), a_position(25), a_position(main_type=2), a_position(20)]),
        max_size=20,
    ),
    st.randoms(),
)
def test_neither_order_nor_batching_nor_warnings_change_a_byte(positions: list[Position], random) -> None:  # type: ignore[no-untyped-def]  # Hypothesis gives a Random
    shuffled = list(positions)
    random.shuffle(shuffled)
    plain = [a_position(main_type=one.key.card_main_type) if one.key.code in (24, 25) else one for one in shuffled]
    assert a_statement(positions) == a_statement(shuffled) == a_statement(plain)


def test_a_window_without_records_has_a_statement_too() -> None:
    statement = a_statement([])
    assert statement.totals.net_fen == 0
    assert decode_batch(statement.st_file, FileType.ST).header.record_count == 0
