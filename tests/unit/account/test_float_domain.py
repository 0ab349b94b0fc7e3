"""The float's figures and canonical form, and what a statement of the bank must fulfil."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from services.account.domain.bank_statement import BankLine, BankStatement, Reconciliation
from services.account.domain.errors import BankStatementUnbalanced
from services.account.domain.float import BookTotals, FloatDay, FloatLine, city_day, day_end

DAY = date(2018, 9, 1)


def a_day(**changes: object) -> FloatDay:
    lines = (FloatLine("adult", 0, 2, 2000, 300, 100, 1600, 0, 0), FloatLine("adult", 361, 1, 50, 10, 0, 40, 1, 40))
    book = BookTotals(2050, 310, 100, (("1002", 900), ("1221", 800), ("2201", 1640), ("2203", 310)))
    return replace(FloatDay(DAY, day_end(DAY), 7, lines, book), **changes)  # type: ignore[arg-type] # fields by name


def test_days_are_those_of_the_city() -> None:
    assert day_end(DAY) == datetime(2018, 9, 1, 16, 0, tzinfo=UTC)
    assert city_day(datetime(2018, 8, 31, 16, 0, tzinfo=UTC)) == DAY


def test_the_canonical_form_is_what_is_written_down() -> None:
    assert a_day().canonical().decode() == (
        "float-1|2018-09-01|7\nadult|0|2|2000|300|100|1600|0|0\nadult|361|1|50|10|0|40|1|40\nbook|2050|310|100\n"
        "1002|900\n1221|800\n2201|1640\n2203|310\n"
    )
    assert a_day(lines=a_day().lines[::-1]).digest() == a_day().digest()
    assert a_day(place=8).digest() != a_day().digest()


def test_both_witnesses_must_say_the_same_and_every_line_must_add_up() -> None:
    assert a_day().holds
    short = replace(a_day().book, used_fen=309)
    assert a_day(book=short).differences == (("used", 310, 309),)
    # Two lines whose mistakes cancel are two mistakes.
    first, second = a_day().lines
    cancelling = (replace(first, liability_fen=1601), replace(second, liability_fen=39))
    assert a_day(lines=cancelling).differences == ()
    assert not a_day(lines=cancelling).holds


def test_float_that_was_used_is_what_nothing_covers() -> None:
    assert a_day().uncovered_fen == 1640 + 310 - 900 - 800


def test_a_statement_must_add_up_in_itself() -> None:
    good = BankStatement("1002", DAY, 10, 7, (BankLine(-5, "a", ""), BankLine(2, "b", "")), datetime.now(UTC))
    good.check()
    with pytest.raises(BankStatementUnbalanced):
        replace(good, closing_fen=8).check()
    assert good.says_the_same(replace(good, record_time=datetime.now(UTC)))
    assert not good.says_the_same(replace(good, lines=good.lines[::-1]))


def test_a_reconciliation_shows_what_it_cannot_explain() -> None:
    found = Reconciliation("1002", DAY, 100, 60, 30, -10, 0, 0, ())
    assert (found.difference_fen, found.unexplained_fen, found.agrees) == (40, 0, False)
    assert replace(found, bank_fen=101).unexplained_fen == 1
