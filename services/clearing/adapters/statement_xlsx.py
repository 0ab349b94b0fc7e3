"""The statement for people: a workbook in Chinese and English, the same bytes whenever it is made."""

import csv
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from citycard.clearing.v1 import statement_service_pb2 as pb
from citycard.common.v1 import types_pb2

from services.clearing.domain.participant import Participant

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

_TOTALS = (
    ("record_count", "笔数", "Records"), ("list_price_fen", "应收票价", "List prices"),
    ("gross_fen", "实收金额", "Paid by cards"), ("subsidy_fen", "补贴", "Subsidies"), ("fee_fen", "手续费", "Fees"),
    ("adjustment_fen", "调整", "Adjustments"), ("net_fen", "净额", "Net"),
)  # fmt: skip
_LINE = (
    "发卡方 Issuer", "收单方 Acquirer", "营运单位 Operator", "笔数 Records", "实收 Gross (元)", "补贴 Subsidy (元)",
    "手续费 Fee (元)", "调整 Adjustment (元)", "净额 Net (元)",
)  # fmt: skip
_ADJUSTMENT = ("类别 Kind", "原清算日 Original day", "对应 For", "金额 Amount (元)")
_WIDTH = 20


def render(document: pb.StatementDocument, csv_file: bytes, participant: Participant) -> bytes:
    """A workbook of four sheets: totals, lines, adjustments, positions. Amounts are numbers in yuan with two digits."""
    # Imported here: it takes a dozen MiB, and a worker that only judges never needs it.
    from xlsxwriter import Workbook

    content = io.BytesIO()
    book = Workbook(content, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    # The moment of making would change the bytes: the statement's own day stands instead.
    created = datetime(*_ymd(document.settlement_date), tzinfo=UTC).replace(tzinfo=None)
    book.set_properties({"title": document.name, "created": created})
    bold, money = book.add_format({"bold": True}), book.add_format({"num_format": "#,##0.00"})
    _totals(book.add_worksheet("结算单 Statement"), document, participant, bold, money)
    lines = _sheet(book, "明细 Lines", _LINE, bold)
    for row, line in enumerate(document.lines, 1):
        fees = sum(fee.amount_fen for fee in line.fees)
        lines.write_string(row, 0, line.issuer)
        lines.write_string(row, 1, line.acquirer)
        lines.write_number(row, 2, line.operator_number)
        lines.write_number(row, 3, line.record_count)
        for place, fen in enumerate((line.gross_fen, line.subsidy_fen, fees, line.adjustment_fen, line.net_fen), 4):
            lines.write_number(row, place, fen / 100, money)
    adjustments = _sheet(book, "调整 Adjustments", _ADJUSTMENT, bold)
    for row, one in enumerate(document.adjustments, 1):
        adjustments.write_string(row, 0, one.kind)
        adjustments.write_string(row, 1, _iso(one.original_date) if one.HasField("original_date") else "")
        adjustments.write_string(row, 2, one.reference)
        adjustments.write_number(row, 3, one.amount_fen / 100, money)
    header, *positions = csv.reader(io.StringIO(csv_file.decode()))
    sheet = _sheet(book, "分类 Positions", header, bold)
    for row, values in enumerate(positions, 1):
        for place, value in enumerate(values):
            if header[place] in ("record_count", "list_price_fen", "amount_fen"):
                sheet.write_number(row, place, int(value))
            else:
                sheet.write_string(row, place, value)
    book.close()
    return content.getvalue()


def _totals(
    sheet: "Worksheet", document: pb.StatementDocument, participant: Participant, bold: "Format", money: "Format"
) -> None:
    sheet.set_column(0, 2, _WIDTH)
    facts = (
        ("参与方", "Participant", f"{participant.display_name_zh} {participant.display_name_en}"),
        ("清算日", "Settlement date", _iso(document.settlement_date)),
        ("付款日", "Payout date", _iso(document.payout_date)),
        ("结算单号", "Number", str(document.statement_number)),
        ("链接哈希", "Chain hash", document.chain_hash.hex()),
    )
    for row, (zh, en, value) in enumerate(facts):
        sheet.write_string(row, 0, zh, bold)
        sheet.write_string(row, 1, en, bold)
        sheet.write_string(row, 2, value)
    for row, (field, zh, en) in enumerate(_TOTALS, len(facts) + 1):
        value = getattr(document, field)
        sheet.write_string(row, 0, zh, bold)
        sheet.write_string(row, 1, en, bold)
        if field.endswith("_fen"):
            # Spreadsheets hold numbers as floats; below 2^53 fen the two digits are exact.
            sheet.write_number(row, 2, value / 100, money)
        else:
            sheet.write_number(row, 2, value)


def _sheet(book: "Workbook", name: str, header: tuple[str, ...] | list[str], bold: "Format") -> "Worksheet":
    sheet = book.add_worksheet(name)
    sheet.set_column(0, len(header) - 1, _WIDTH)
    sheet.freeze_panes(1, 0)
    for place, title in enumerate(header):
        sheet.write_string(0, place, title, bold)
    return sheet


def _ymd(value: types_pb2.Date) -> tuple[int, int, int]:
    return value.year, value.month, value.day


def _iso(value: types_pb2.Date) -> str:
    return "{:04d}-{:02d}-{:02d}".format(*_ymd(value))
