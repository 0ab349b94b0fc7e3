"""List prices: flat, by stages (分段), or by a table of origins and destinations; also out of an FT file."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from libs.fares.errors import FareUnknown, RulePackInvalid
from libs.fares.reader import Reader
from libs.records import bcd

_STOP_MAX = 0xFFFF
_FEN_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Flat:
    """One price for every ride of a line."""

    fare_fen: int

    def find(self, from_stop: int, to_stop: int) -> int | None:
        """The price in fen."""
        return self.fare_fen


@dataclass(frozen=True, slots=True)
class Staged:
    """A price by the number of stops ridden, whatever the direction.

    Attributes:
        stages: Most stops of a stage (None for the last, if that has no end) and its price, ascending.
    """

    stages: tuple[tuple[int | None, int], ...]

    def find(self, from_stop: int, to_stop: int) -> int | None:
        """The price in fen, or None for a ride longer than the last stage."""
        ridden = abs(to_stop - from_stop)
        return next((fare for bound, fare in self.stages if bound is None or ridden <= bound), None)


@dataclass(frozen=True, slots=True)
class OriginDestination:
    """A price for each pair of stops, as metros have it."""

    fares: Mapping[tuple[int, int], int]

    def find(self, from_stop: int, to_stop: int) -> int | None:
        """The price in fen, or None for a pair that the table does not have."""
        return self.fares.get((from_stop, to_stop))


PriceTable = Flat | Staged | OriginDestination


@dataclass(frozen=True, slots=True)
class ListPrices:
    """Price tables by line; a metro network priced as a whole is one line, such as `000000`."""

    tables: Mapping[str, PriceTable]

    def find(self, line: str, from_stop: int = 0, to_stop: int = 0) -> int:
        """The list price of a ride, in fen.

        Raises:
            FareUnknown: No table for the line, or the table has no price for the stops.
        """
        table = self.tables.get(line)
        fare = None if table is None else table.find(from_stop, to_stop)
        if fare is None:
            raise FareUnknown(line=line, from_stop=from_stop, to_stop=to_stop)
        return fare

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read tables from a JSON-able mapping.

        `{"tables": [{"line": "000001", "kind": "flat", "fare_fen": 200}, {"line": "000002", "kind": "staged",
        "stages": [{"up_to_stops": 8, "fare_fen": 200}, {"fare_fen": 300}]}, {"line": "000000", "kind": "od",
        "symmetric": true, "fares": [{"from": 1, "to": 2, "fare_fen": 200}]}]}`

        Raises:
            RulePackInvalid: Something is missing, unknown, of a wrong type or out of range, or given twice.
        """
        reader = Reader(document, "prices")
        tables: dict[str, PriceTable] = {}
        for each in reader.readers("tables"):
            line = each.text("line")
            if len(line) != 6 or not (line.isascii() and line.isdecimal()) or line in tables:
                raise each.wrong("line", "NOT_A_NEW_LINE", line)
            kind = each.text("kind")
            if kind not in _TABLES:
                raise each.wrong("kind", "NOT_A_CHOICE", kind)
            tables[line] = _TABLES[kind](each)
            each.finish()
        reader.finish()
        return cls(tables)

    @classmethod
    def from_fare_rows(cls, rows: npt.NDArray[np.void], main_type: int, day: date) -> Self:
        """Tables of an FT file (`libs.records.fare_record.FARE`) for one card main type on one day.

        A row with a stop `to` of 0 is flat and stands for its whole line; a row that names the main type
        goes before one for any.

        Raises:
            RulePackInvalid: Two rows of equal standing name the same ride.
        """
        on = (day - date(1970, 1, 1)).days
        fits = (rows["card_main_type"] == main_type) | (rows["card_main_type"] == 0)
        fits &= bcd.dates_to_epoch_days(rows["first_day"]) <= on
        fits &= bcd.dates_to_epoch_days(rows["last_day"]) >= on
        pairs: dict[str, dict[tuple[int, int], int]] = {}
        flat: dict[str, int] = {}
        for special in (False, True):
            chosen = rows[fits & ((rows["card_main_type"] != 0) == special)]
            seen: set[tuple[str, int, int]] = set()
            lines = bcd.hex_texts(chosen["line"]).tolist()
            columns = (chosen["from_stop"].tolist(), chosen["to_stop"].tolist(), chosen["fare_fen"].tolist())
            for packed, start, end, fare in zip(lines, *columns, strict=True):
                line = packed.decode()
                key = (line, start, end) if end else (line, 0, 0)
                if key in seen:
                    raise RulePackInvalid(where=f"line {line} {start}-{end}", fault="FARE_TWICE", found=fare)
                seen.add(key)
                if end:
                    pairs.setdefault(line, {})[start, end] = fare
                else:
                    flat[line] = fare
        both = sorted(pairs.keys() & flat.keys())
        if both:
            raise RulePackInvalid(where=f"line {both[0]}", fault="FLAT_AND_PAIRS", found=flat[both[0]])
        tables: dict[str, PriceTable] = {line: Flat(fare) for line, fare in flat.items()}
        tables.update({line: OriginDestination(fares) for line, fares in pairs.items()})
        return cls(tables)


def _flat(reader: Reader) -> PriceTable:
    return Flat(reader.integer("fare_fen", 0, _FEN_MAX))


def _staged(reader: Reader) -> PriceTable:
    stages: list[tuple[int | None, int]] = []
    below = -1
    for each in reader.readers("stages"):
        if stages and stages[-1][0] is None:
            raise each.wrong("up_to_stops", "AFTER_THE_LAST", None)
        bound = each.integer("up_to_stops", below + 1, _STOP_MAX) if each.has("up_to_stops") else None
        stages.append((bound, each.integer("fare_fen", 0, _FEN_MAX)))
        each.finish()
        below = below if bound is None else bound
    if not stages:
        raise reader.wrong("stages", "EMPTY", None)
    return Staged(tuple(stages))


def _origin_destination(reader: Reader) -> PriceTable:
    symmetric = reader.flag("symmetric")
    fares: dict[tuple[int, int], int] = {}
    for each in reader.readers("fares"):
        pair = (each.integer("from", 0, _STOP_MAX), each.integer("to", 0, _STOP_MAX))
        fare = each.integer("fare_fen", 0, _FEN_MAX)
        each.finish()
        for way in {pair, pair[::-1]} if symmetric else {pair}:
            if fares.setdefault(way, fare) != fare:
                raise each.wrong("fare_fen", "FARE_TWICE", fare)
    return OriginDestination(fares)


_TABLES = {"flat": _flat, "staged": _staged, "od": _origin_destination}
