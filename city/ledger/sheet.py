"""A sheet that an accountant reads: Chinese and English headings, amounts with separators; as table, JSON or CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from libs.clock import CITY_TZ

FEN = "CNY/2"


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount in the smallest part of its asset.

    Attributes:
        units: Fen of `CNY/2`, points of `POINT/0`, hundredths of a kilowatt hour of `KWH/2`.
        asset: Unit and scale.
    """

    units: int
    asset: str = FEN

    def text(self, *, separators: bool) -> str:
        """`-1,234.50`, or `-1234.50` for programs that count."""
        unit, _, digits = self.asset.partition("/")
        scale = int(digits or 0)
        sign = "-" if self.units < 0 else ""
        whole, part = divmod(abs(self.units), 10**scale)
        written = f"{sign}{whole:,}" if separators else f"{sign}{whole}"
        written += f".{part:0{scale}d}" if scale else ""
        return written if unit == "CNY" or not separators else f"{written} {unit}"


Cell: TypeAlias = str | int | Amount | date | datetime | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        key: Name for programs.
        zh: Heading in Chinese.
        en: Heading in English.
        fold: Whether long texts may go over several lines; else the column keeps its width.
    """

    key: str
    zh: str
    en: str
    fold: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows under headings.

    Attributes:
        name: For programs, `statement`.
        zh: Title in Chinese.
        en: Title in English.
        columns: Headings.
        rows: Cells in the order of the columns; amounts stand on the right.
        totals: Rows below the line.
        notes: Sentences below the table, Chinese and English.
        bad: The notes tell of something that is wrong.
        facts: What programs want to know beside the rows.
        once: So many leading columns are shown once for rows that begin alike; programs get them in every row.
    """

    name: str
    zh: str
    en: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Cell, ...]]
    totals: Sequence[tuple[Cell, ...]] = ()
    notes: Sequence[tuple[str, str]] = ()
    bad: bool = False
    facts: dict[str, Cell | bool] = field(default_factory=dict)
    once: int = 0


def show(sheets: Sequence[Sheet], console: Console) -> None:
    """Tables for people; a console without a width of its own gets room for what accountants need."""
    for sheet in sheets:
        table = Table(title=f"{sheet.zh}  {sheet.en}", title_justify="left", title_style="bold")
        for place, column in enumerate(sheet.columns):
            cells = [row[place] for row in (*sheet.rows, *sheet.totals) if row[place] not in (None, "")]
            right = bool(cells) and all(isinstance(cell, int | Amount) for cell in cells)
            table.add_column(
                f"{column.zh}\n{column.en}",
                justify="right" if right else "left",
                no_wrap=not column.fold,
                overflow="fold",
            )
        before: Sequence[Cell] = ()
        for row in sheet.rows:
            same = sheet.once if row[: sheet.once] == before else 0
            table.add_row(*("" if place < same else _styled(cell) for place, cell in enumerate(row)))
            before = row[: sheet.once]
        if sheet.totals:
            table.add_section()
        for row in sheet.totals:
            table.add_row(*(_styled(cell) for cell in row), style="bold")
        console.print(table)
        for zh, en in sheet.notes:
            console.print(Text(f"{zh}\n{en}", style="bold red" if sheet.bad else "dim"), soft_wrap=True)


def to_json(sheets: Sequence[Sheet]) -> str:
    """Every sheet with its rows by the columns' keys; amounts as whole numbers of their smallest part."""
    whole: dict[str, Any] = {}
    for sheet in sheets:
        keys = [column.key for column in sheet.columns]
        whole[sheet.name] = {key: _plain(value) for key, value in sheet.facts.items()} | {
            "rows": [dict(zip(keys, map(_plain, row), strict=True)) for row in sheet.rows],
        }
    return json.dumps(whole, ensure_ascii=False, indent=1)


def to_csv(sheets: Sequence[Sheet]) -> str:
    """Rows under headings in both languages; amounts with a decimal point and without separators.

    A blank line stands between sheets.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for number, sheet in enumerate(sheets):
        if number:
            out.write("\n")
        writer.writerow([f"{column.zh} {column.en}" for column in sheet.columns])
        for row in sheet.rows:
            writer.writerow([_calculable(cell) for cell in row])
    return out.getvalue()


def _styled(cell: Cell) -> Text:
    text = _written(cell)
    negative = (isinstance(cell, Amount) and cell.units < 0) or (isinstance(cell, int) and cell < 0)
    return Text(text, style="red" if negative else "")


def _written(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case Amount():
            return cell.text(separators=True)
        case int():
            return f"{cell:,}"
        case datetime():
            return cell.astimezone(CITY_TZ).strftime("%Y-%m-%d %H:%M:%S")
        case date():
            return cell.isoformat()
        case _:
            return cell


def _plain(cell: Cell | bool) -> object:
    match cell:
        case Amount():
            return cell.units
        case datetime():
            return cell.astimezone(CITY_TZ).isoformat()
        case date():
            return cell.isoformat()
        case _:
            return cell


def _calculable(cell: Cell) -> str:
    if isinstance(cell, Amount):
        return cell.text(separators=False)
    text = str(cell) if isinstance(cell, int) else _written(cell)
    # What others wrote (references, words of a bank) must not become a formula of a spreadsheet.
    return f"'{text}" if text[:1] in ("=", "+", "@", "\t") else text
