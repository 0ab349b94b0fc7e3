"""The cards of a set: every life of each, from the worker's memory where that is enough, else from the database."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from libs.records import otr
from services.clearing.adapters.pgcolumns import Shape, array, fetch_columns
from services.clearing.adapters.remembered import LIFE, CardMemory, pick, split, words
from services.clearing.domain.judgement import I64, Bools

_Driver = psycopg.AsyncConnection[Any]
_LIFE: Shape = (
    ("place", "int4"), ("jt", "bool"), ("id", "int8"), ("generation", "int4"), ("issued_s", "int8"),
    ("start_day", "int4"), ("expiry_day", "int4"), ("counter_first", "int4"), ("last_counter", "int4"),
    ("last_after_fen", "int8"), ("last_s", "int8"),
)  # fmt: skip


async def catch_up(driver: _Driver, memory: CardMemory) -> None:
    """Forget the cards that were registered since this was last done, and see whether others have posted."""
    query = (
        "SELECT next, (SELECT coalesce(bit_xor(hashtextextended(p.id::text || p.last_set::text, 0)), 0) FROM poster p "
        f"WHERE p.id <> '{memory.poster}') FROM counter WHERE name = 'card_registration'"
    )
    now = (await fetch_columns(driver, query, (("registration", "int8"), ("others", "int8"))))[0]
    since = memory.look_round(int(now["registration"]), int(now["others"]))
    if since is not None:
        query = f"SELECT number FROM card WHERE registration > {since}"
        memory.forget((await fetch_columns(driver, query, (("number", "bytes10"),)))["number"])


@dataclass(frozen=True, slots=True)
class Cards:
    """Every life of every card of the set, and the life of each record.

    Attributes:
        numbers: Card numbers, `V10`, one for each number and scheme.
        lives: Rows of `_LIFE`; row 0 stands for an unknown card.
        life: (n,) index into `lives`.
    """

    numbers: npt.NDArray[np.void]
    lives: npt.NDArray[np.void]
    life: I64

    @classmethod
    async def load(
        cls, driver: _Driver, records: otr.Records, asked: npt.NDArray[np.intp], jt: Bools, times_s: I64,
        memory: CardMemory | None,
    ) -> "Cards":  # fmt: skip
        """Lives of the cards of the rows that are asked about; the others' cards stay unknown.

        Of several lives of a number, the one alive at the transaction: the last that had begun, else the first.
        """
        column = np.ascontiguousarray(records["card_number"]).view("V10")[:, 0]
        unknown = np.zeros(1, LIFE)
        unknown["last_counter"], unknown["place"] = -1, -1
        life = np.zeros(len(column), np.int64)
        if not len(asked):
            return cls(column[:0], unknown, life)
        order, begins = _by_card(column[asked], jt[asked], records["card_counter"][asked])
        number_of = np.empty(len(asked), np.int64)
        number_of[order] = np.cumsum(begins) - 1
        of_place = asked[order[begins]]
        numbers, scheme = column[of_place], jt[of_place]
        rows, open_places = unknown[:0], np.arange(len(numbers))
        if memory is not None:
            found, remembered = memory.find(numbers, scheme)
            found &= (remembered["epoch"] == memory.epoch) | _goes_on(records, asked[order], begins, remembered)
            rows = pick(remembered, found)
            rows["place"] = open_places[found]
            open_places = open_places[~found]
        if len(open_places):
            query = (
                "SELECT s.place, c.jt, c.id, c.generation, c.issued_s, c.start_day, c.expiry_day, "
                "c.counter_first, coalesce(h.counter, -1), coalesce(h.after_fen, 0), coalesce(h.at_s, 0) "
                "FROM unnest(%s, %s, %s) AS s (place, number, jt) JOIN card c ON c.number = s.number AND "
                "c.jt = (s.jt = 1) LEFT JOIN LATERAL (SELECT r.card_counter AS counter, "
                "r.balance_before_fen - r.amount_fen AS after_fen, r.transaction_s AS at_s FROM record r "
                "WHERE r.card_id = c.id ORDER BY r.card_counter DESC LIMIT 1) h ON true"
            )
            keys = (array("int4", open_places), array("bytes10", numbers[open_places]),
                    array("int4", scheme[open_places].astype(np.int32)))  # fmt: skip
            fetched = await fetch_columns(driver, query, _LIFE, keys)
            of_database = np.zeros(len(fetched), LIFE)
            for name, _ in _LIFE:
                of_database[name] = fetched[name]
            of_database["number"] = numbers[of_database["place"]]
            rows = np.concatenate([words(rows), words(of_database)]).view(LIFE)[:, 0]
        rows = pick(rows, np.lexsort((rows["issued_s"], rows["jt"], rows["place"])))
        lives: npt.NDArray[np.void] = np.concatenate([words(unknown), words(rows)]).view(LIFE)[:, 0]
        if len(rows):
            life[asked] = _alive(rows, number_of, jt[asked], times_s[asked]) + 1
        return cls(numbers, lives, life)

    def places(self) -> I64:
        """(n,) place of each record's number in `numbers`; -1 where its card is unknown."""
        places: I64 = self.lives["place"].astype(np.int64)[self.life]
        return places

    def after(self, rows: npt.NDArray[np.intp], counter: I64, after_fen: I64, time_s: I64) -> npt.NDArray[np.void]:
        """What to remember once these rows have taken their keys: rows of `remembered.LIFE`, of cards with one life.

        Args:
            rows: Rows of the set.
            counter: (n,) of these rows, like the two that follow.
            after_fen: Balance after each.
            time_s: Time of each.
        """
        lives = self.lives[1:].copy()
        if not len(lives):
            return np.zeros(0, LIFE)
        of_life = self.life[rows] - 1
        order = np.lexsort((counter, of_life))
        ends = np.ones(len(order), np.bool_)
        ends[:-1] = of_life[order][1:] != of_life[order][:-1]
        newest = order[ends]
        newest = newest[counter[newest] > lives["last_counter"][of_life[newest]]]
        for name, values in (("last_counter", counter), ("last_after_fen", after_fen), ("last_s", time_s)):
            lives[name][of_life[newest]] = values[newest]
        # Of several lives the right one depends on the moment of the record: such cards are always asked about.
        single = np.ones(len(lives), np.bool_)
        single[1:] &= lives["place"][1:] != lives["place"][:-1]
        single[:-1] &= lives["place"][:-1] != lives["place"][1:]
        return pick(lives, single)


def _by_card(numbers: npt.NDArray[np.void], jt: Bools, counter: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], Bools]:
    """Rows in the order of card and counter, and where each card begins.

    By whole numbers, not byte strings: sorting those is ten times slower.
    """
    high, low = split(numbers)
    # 16 bits of the number, the scheme and 16 bits of the counter; both sorts are of whole numbers.
    order = np.lexsort((high << np.uint64(17) | jt.astype(np.uint64) << np.uint64(16) | counter, low))
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (low[order][1:] != low[order][:-1]) | (
        (high[order][1:] << np.uint64(1) | jt[order][1:]) != (high[order][:-1] << np.uint64(1) | jt[order][:-1])
    )
    return order, begins


def _goes_on(
    records: otr.Records, order: npt.NDArray[np.intp], begins: Bools, remembered: npt.NDArray[np.void]
) -> Bools:
    """Of which cards every record goes on from the one before, the first from what is remembered.

    Args:
        records: All of the set.
        order: Rows that are asked about, in the order of card and counter.
        begins: Where each card begins.
        remembered: One row for each card.
    """
    counter = records["card_counter"][order].astype(np.int64)
    balance = records["balance_before_fen"][order].astype(np.int64)
    after = balance - records["amount_fen"][order].astype(np.int64)
    good = np.zeros(len(order), np.bool_)
    good[1:] = (counter[1:] == counter[:-1] + 1) & (balance[1:] == after[:-1])
    good[begins] = (
        (remembered["last_counter"] >= 0)
        & (counter[begins] == remembered["last_counter"] + 1)
        & (balance[begins] == remembered["last_after_fen"])
    )
    goes_on: Bools = np.logical_and.reduceat(good, np.flatnonzero(begins))
    return goes_on


def _alive(rows: npt.NDArray[np.void], number_of: npt.NDArray[np.intp], jt: Bools, times_s: I64) -> I64:
    """Index of each record's life in sorted rows, -1 where its number is unknown."""
    # One sortable key: number (below 2^20), scheme, beginning (below 2^40).
    number = (rows["place"].astype(np.int64) << 1) | rows["jt"]
    keys = (number << 40) + np.clip(rows["issued_s"], 0, (1 << 40) - 1)
    wanted = (number_of.astype(np.int64) << 1) | jt
    place = np.searchsorted(keys, (wanted << 40) + np.clip(times_s, 0, (1 << 40) - 1), side="right") - 1
    begun = (place >= 0) & (number[np.maximum(place, 0)] == wanted)
    if begun.all():
        return place
    earliest = np.searchsorted(keys, wanted << 40, side="left")
    chosen = np.minimum(np.where(begun, place, earliest), len(rows) - 1)
    return np.where(number[chosen] == wanted, chosen, -1)
