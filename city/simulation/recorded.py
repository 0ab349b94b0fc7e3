"""A real day from a file of records: cards and terminals are personalised for the numbers in it.

The file is a CSV with the columns `batch, seq, deal_date, close_date, card_no, deal_value, deal_type, company_name,
car_no, station, conn_mark, deal_money, equ_no`, plain or gzipped, as the city published it in 2018. It carries no TAC,
counter or balance: those the virtual cards and terminals make. All else stays as it is.
"""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from city.keys import CITY_CODE
from city.simulation.operators import OPERATORS, Operator, metro_line
from city.simulation.plan import TAP, CardColumns, DayPlan, TerminalColumns
from libs.clock import CITY_TZ
from libs.records.codes import Kind
from libs.records.numbers import card_bytes, make_jt_number

_KINDS = {"地铁入站": Kind.ENTRY, "地铁出站": Kind.EXIT, "巴士": Kind.PURCHASE}
_BY_NAME = {operator.zh: place for place, operator in enumerate(OPERATORS)}
_DIGIT = str.maketrans("ABCDEFGHIJ", "0123456789")
# Far above what any card spends in a day of the file, far below the limit of a purse.
_OPENING_FEN = 10_000
_ORDINARY = 1
# When the collectors come, on the settlement day.
_COLLECTED_AT = time(12)


class DataUnusableError(ValueError):
    """The file is not one of such records; the message names line and column."""


def read_day(path: Path) -> DayPlan:
    """Read a day.

    A row that stands twice in the file, equal in all columns but its origin, is one tap whose record is sent again.

    Raises:
        DataUnusableError: A column is missing, a value is not one of its kind, or there are several settlement days.
        OSError: The file cannot be read.
    """
    rows = list(_rows(path))
    distinct = list(dict.fromkeys(rows))
    days = {row.settlement_date for row in distinct}
    if len(days) != 1:
        raise DataUnusableError(f"{path}: {len(days)} settlement days; one makes a day")
    (settlement_date,) = days
    # A stable sort: taps of one second keep the order of the file, so counters are the same on every machine.
    distinct.sort(key=lambda row: row.time_s)
    cards = _places(row.card for row in distinct)
    terminals = _places(row.terminal for row in distinct)
    terminal_facts = {row.terminal: row for row in reversed(distinct)}
    taps = np.array(
        [
            (
                row.time_s,
                cards[row.card],
                terminals[row.terminal],
                row.kind,
                row.price_fen,
                row.amount_fen,
                0,
                row.transfer,
            )
            for row in distinct
        ],
        dtype=TAP,
    )
    copies = Counter(rows)
    sent_again = [place for place, row in enumerate(distinct) for _ in range(copies[row] - 1)]
    noon = datetime.combine(settlement_date, _COLLECTED_AT, CITY_TZ)
    return DayPlan(
        title_zh=f"{settlement_date:%Y-%m-%d} 的真实交易",
        title_en=f"real records of {settlement_date:%Y-%m-%d}",
        collected_at=noon,
        settlement_date=settlement_date,
        valid_from=datetime.fromtimestamp(int(taps["time_s"].min()), CITY_TZ).date(),
        cards=CardColumns(
            numbers=np.array([np.frombuffer(card_number(card), np.uint8) for card in cards]),
            main_types=np.full(len(cards), _ORDINARY, np.uint8),
            opening_fen=np.full(len(cards), _OPENING_FEN, np.int64),
        ),
        terminals=TerminalColumns(
            numbers=tuple(terminal.zfill(12) for terminal in terminals),
            operators=np.array([terminal_facts[terminal].operator for terminal in terminals], np.uint8),
            lines=np.array([_line(OPERATORS[terminal_facts[terminal].operator]) for terminal in terminals], np.int32),
            stations=np.array([terminal_facts[terminal].station for terminal in terminals], np.int32),
        ),
        taps=taps,
        sent_again=np.array(sent_again, dtype=np.intp),
    )


def card_number(masked: str) -> bytes:
    """The 10 bytes of the card that stands for a masked number: letters A to J are digits, the length is kept apart.

    Numbers of 8 and of 9 letters are different cards even when they have the same digits.

    Raises:
        DataUnusableError: Not 1 to 9 of these letters.
    """
    digits = masked.translate(_DIGIT)
    if not (1 <= len(masked) <= 9 and digits.isascii() and digits.isdecimal()):
        raise DataUnusableError(f"{masked!r} is no masked card number")
    return card_bytes(make_jt_number(CITY_CODE, len(masked) * 10**9 + int(digits)))[1]


class _Row(NamedTuple):
    """One row; equal rows are one tap. The last two columns enter no record, but they tell taps apart."""

    time_s: int
    card: str
    terminal: str
    operator: int
    kind: int
    price_fen: int
    amount_fen: int
    transfer: bool
    station: int
    settlement_date: date
    vehicle: str
    station_name: str


def _rows(path: Path) -> Iterator[_Row]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    for line, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), start=2):
        try:
            yield _row(row)
        except (KeyError, ValueError) as error:
            raise DataUnusableError(f"{path}, line {line}: {error!r}") from error


def _row(row: Mapping[str, str]) -> _Row:
    at = datetime.fromisoformat(row["deal_date"]).replace(tzinfo=CITY_TZ)
    terminal = row["equ_no"]
    if not (1 <= len(terminal) <= 12 and terminal.isascii() and terminal.isdecimal()):
        raise ValueError(f"{terminal!r} is no terminal number")
    kind = _KINDS[row["deal_type"]]
    return _Row(
        time_s=int(at.timestamp()),
        card=row["card_no"],
        terminal=terminal,
        operator=_BY_NAME[row["company_name"]],
        kind=int(kind),
        price_fen=int(row["deal_value"]),
        amount_fen=int(row["deal_money"]),
        transfer=row["conn_mark"] == "1",
        # The first six digits of a gate's number name its station; what of them fits two bytes goes into the record.
        station=int(terminal[:6]) % 0x10000 if kind is not Kind.PURCHASE else 0,
        settlement_date=date.fromisoformat(row["close_date"][:10]),
        vehicle=row["car_no"],
        station_name=row["station"],
    )


def _places(names: Iterable[str]) -> dict[str, int]:
    """Every name with its place, in the order of the alphabet: independent of the order of rows."""
    return {name: place for place, name in enumerate(sorted(set(names)))}


def _line(operator: Operator) -> int:
    return metro_line(operator) if operator.is_metro else 0
