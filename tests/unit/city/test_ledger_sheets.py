"""Sheets as people, programs and spreadsheets get them."""

import io
import json
from datetime import UTC, date, datetime

import pytest
from rich.console import Console

from city.ledger.commands import _moment
from city.ledger.sheet import Amount, Column, Sheet, show, to_csv, to_json

COLUMNS = (
    Column("sequence", "凭证号", "journal"),
    Column("post_time", "入账时间", "posted"),
    Column("account", "账户", "account"),
    Column("debit", "借方", "debit"),
    Column("credit", "贷方", "credit"),
)
NOON = datetime(2018, 9, 1, 4, 0, tzinfo=UTC)
ROWS = [
    (1200, NOON, "1221.north", Amount(123_456_789), None),
    (1200, NOON, "2201", None, Amount(123_456_789)),
    (1201, NOON, "=cmd()", Amount(-5), Amount(7, "POINT/0")),
]
SHEET = Sheet(
    "journals", "凭证", "journals", COLUMNS, ROWS, [("", None, "合计 total", Amount(1), Amount(0))],
    [("好。", "Good.")], facts={"holds": True, "day": date(2018, 9, 1)}, once=2,
)  # fmt: skip


def shown(sheet: Sheet) -> str:
    console = Console(width=120, highlight=False, record=True, file=io.StringIO())
    show([sheet], console)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def test_a_table_has_both_languages_separators_and_says_each_journal_once() -> None:
    assert shown(SHEET) == (
        "凭证  journals\n"
        "┏━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━┓\n"
        "┃  凭证号 ┃ 入账时间            ┃ 账户       ┃         借方 ┃         贷方 ┃\n"
        "┃ journal ┃ posted              ┃ account    ┃        debit ┃       credit ┃\n"
        "┡━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━┩\n"
        "│   1,200 │ 2018-09-01 12:00:00 │ 1221.north │ 1,234,567.89 │              │\n"
        "│         │                     │ 2201       │              │ 1,234,567.89 │\n"
        "│   1,201 │ 2018-09-01 12:00:00 │ =cmd()     │        -0.05 │      7 POINT │\n"
        "├─────────┼─────────────────────┼────────────┼──────────────┼──────────────┤\n"
        "│         │                     │ 合计 total │         0.01 │         0.00 │\n"
        "└─────────┴─────────────────────┴────────────┴──────────────┴──────────────┘\n"
        "好。\n"
        "Good."
    )


def test_programs_get_every_row_whole_and_amounts_as_numbers() -> None:
    read = json.loads(to_json([SHEET]))["journals"]
    assert (read["holds"], read["day"]) == (True, "2018-09-01")
    assert read["rows"][1] == {
        "sequence": 1200, "post_time": "2018-09-01T12:00:00+08:00", "account": "2201", "debit": None,
        "credit": 123456789,
    }  # fmt: skip


def test_spreadsheets_get_points_no_separators_and_no_formulas_of_others() -> None:
    assert to_csv([SHEET, SHEET]).split("\n\n")[0].splitlines() == [
        "凭证号 journal,入账时间 posted,账户 account,借方 debit,贷方 credit",
        "1200,2018-09-01 12:00:00,1221.north,1234567.89,",
        "1200,2018-09-01 12:00:00,2201,,1234567.89",
        "1201,2018-09-01 12:00:00,'=cmd(),-0.05,7",
    ]


@pytest.mark.parametrize(
    ("units", "asset", "text"),
    [
        (0, "CNY/2", "0.00"), (-1, "CNY/2", "-0.01"), (-123456, "CNY/2", "-1,234.56"), (1234, "POINT/0", "1,234 POINT"),
        (5, "KWH/2", "0.05 KWH"),
    ],
)  # fmt: skip
def test_amounts_keep_the_scale_of_their_asset(units: int, asset: str, text: str) -> None:
    assert Amount(units, asset).text(separators=True) == text


def test_a_day_means_its_end_or_its_beginning_in_the_city() -> None:
    assert _moment("2018-09-01") == datetime(2018, 9, 1, 15, 59, 59, 999999, tzinfo=UTC)
    assert _moment("2018-09-01", end=False) == datetime(2018, 8, 31, 16, 0, tzinfo=UTC)
    assert _moment("2018-09-01T12:00:00") == NOON
    assert _moment("2018-09-01T04:00:00+00:00") == NOON
