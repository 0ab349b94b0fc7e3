"""Records of a city day made as columns: valid TACs, counters and balances that continue, nothing to complain about."""

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

import numpy as np
import numpy.typing as npt

from city.keys import CITY_CODE, ISSUER_ID, city_keys
from city.simulation.operators import OPERATORS, Operator
from city.simulation.plan import TAP, CardColumns, DayPlan, TerminalColumns
from city.simulation.play import ALGORITHM_ID, KEY_VERSION
from libs.clock import CITY_TZ
from libs.purse import bulk
from libs.purse.scheme import Scheme
from libs.purse.transactions import Tti
from libs.records import bcd, otr
from libs.records.codes import Kind
from libs.records.numbers import CardClass, card_bytes, institution_bytes, make_jt_number

DAY: Final = date(2025, 9, 1)
NOON: Final = datetime.combine(DAY, time(12), CITY_TZ)
OPENING_FEN: Final = 50_000
FARE_FEN: Final = 200
# Two metro lines and two bus companies: four depots send at once, as in the demo.
_OPERATORS: Final = (0, 1, 8, 9)
_FIRST_SERIAL: Final = 30_000_000_000
_FIRST_TAP_S: Final = 6 * 3600


@dataclass(frozen=True, slots=True)
class Workload:
    """A day that only has to be sent.

    Attributes:
        plan: Its cards and terminals; no taps, since nobody taps.
        records: (n,) sealed records in the order of time.
        operator_of: (n,) place of each one's operator in `OPERATORS`.
    """

    plan: DayPlan
    records: otr.Records
    operator_of: npt.NDArray[np.uint8]

    @property
    def total_fen(self) -> int:
        """What the cards paid."""
        return int(self.records["amount_fen"].astype(np.int64).sum())

    def by_operator(self) -> dict[Operator, otr.Records]:
        """The records that each operator's depot sends."""
        return {OPERATORS[place]: self.records[self.operator_of == place] for place in _OPERATORS}


def make_workload(record_count: int, taps_per_card: int = 10, terminal_count: int = 1_000) -> Workload:
    """Make a day; the same arguments give the same bytes.

    Args:
        record_count: A multiple of `taps_per_card` and of the number of operators.
        taps_per_card: Every card taps so often, at terminals of all operators.
        terminal_count: A multiple of the number of operators.
    """
    draw = np.random.default_rng(20_250_901)
    card_count = record_count // taps_per_card
    texts = [make_jt_number(CITY_CODE, _FIRST_SERIAL + serial) for serial in range(card_count)]
    packed = b"".join(card_bytes(text)[1] for text in texts)
    numbers = np.frombuffer(packed, np.uint8).reshape(-1, 10)
    of_operator = terminal_count // len(_OPERATORS)
    places = np.repeat(np.array(_OPERATORS, np.uint8), of_operator)
    terminals = TerminalColumns(
        tuple(f"{OPERATORS[place].number:02d}{7_000_000_000 + row:010d}" for row, place in enumerate(places.tolist())),
        places,
        np.zeros(terminal_count, np.int32),
        np.zeros(terminal_count, np.int32),
    )
    # Round after round every card taps once, in an order and at terminals drawn anew.
    card = np.concatenate([draw.permutation(card_count) for _ in range(taps_per_card)])
    counter = np.repeat(np.arange(taps_per_card), card_count)
    # Each operator gets the same share, so that all files are of one size.
    share = draw.permutation(np.repeat(np.arange(len(_OPERATORS)), record_count // len(_OPERATORS)))
    terminal = share * of_operator + draw.integers(0, of_operator, record_count)
    records = otr.new_records(record_count)
    _fill_card(records, numbers[card], counter)
    _fill_terminal(records, terminals, terminal)
    records["device_seq"] = records["terminal_seq"]
    start_s = int(datetime.combine(DAY, time(0), CITY_TZ).timestamp()) + _FIRST_TAP_S
    records["time"] = bcd.epoch_s_to_times(start_s + np.arange(record_count) * 5 * 3600 // record_count)
    records["tac"] = bulk.bulk_tac(
        city_keys(), Scheme.JT, institution_bytes(ISSUER_ID), records["card_number"], records["key_version"],
        records["algorithm"], otr.tac_data(records),
    )  # fmt: skip
    plan = DayPlan(
        title_zh="测速日",
        title_en="A day to measure",
        collected_at=NOON,
        settlement_date=DAY,
        valid_from=DAY,
        cards=CardColumns(numbers, np.ones(card_count, np.uint8), np.full(card_count, OPENING_FEN, np.int64)),
        terminals=terminals,
        taps=np.zeros(0, TAP),
        sent_again=np.zeros(0, np.intp),
    )
    return Workload(plan, otr.seal(records), places[terminal])


def _fill_card(records: otr.Records, numbers: npt.NDArray[np.uint8], counter: npt.NDArray[np.int64]) -> None:
    """The card's side: who pays, what it held, what it pays."""
    records["kind"] = Kind.PURCHASE
    records["card_class"] = CardClass.CPU_JT
    records["algorithm"] = ALGORITHM_ID
    records["key_version"] = KEY_VERSION
    records["key_index"] = 1
    records["issuer"] = np.frombuffer(institution_bytes(ISSUER_ID), np.uint8)
    records["card_number"] = numbers
    for name in ("card_city", "accepting_city"):
        records[name] = np.frombuffer(bytes.fromhex(CITY_CODE), np.uint8)
    records["card_main_type"] = 1
    records["tti"] = Tti.EP_PURCHASE
    records["card_counter"] = counter
    records["balance_before_fen"] = OPENING_FEN - FARE_FEN * counter
    records["amount_fen"] = FARE_FEN
    records["list_price_fen"] = FARE_FEN


def _fill_terminal(records: otr.Records, terminals: TerminalColumns, terminal: npt.NDArray[np.int64]) -> None:
    """The terminal's side: where, and the place of each record in the sequence of its terminal."""
    digits = np.array([bytearray.fromhex(number) for number in terminals.numbers], np.uint8)
    psams = [bytearray.fromhex(terminals.psam_number(row)) for row in range(len(terminals))]
    acquirers = {place: institution_bytes(OPERATORS[place].institution_id) for place in _OPERATORS}
    of_terminal = [acquirers[place] for place in terminals.operators.tolist()]
    records["terminal_number"] = digits[terminal]
    records["psam_number"] = np.array(psams, np.uint8)[terminal]
    records["acquirer"] = np.array([bytearray(one) for one in of_terminal], np.uint8)[terminal]
    operator = terminals.operators[terminal]
    records["operator"] = np.array([one.number for one in OPERATORS])[operator]
    records["industry"] = np.array([one.industry_code for one in OPERATORS])[operator]
    records["device_number"] = terminal + 1
    # Rank within the terminal: rows sorted by terminal, less where each terminal begins.
    order = np.argsort(terminal, kind="stable")
    begins = np.searchsorted(terminal[order], np.arange(len(terminals)))
    sequence = np.empty(len(records), np.int64)
    sequence[order] = np.arange(len(records)) - begins[terminal[order]] + 1
    records["terminal_seq"] = sequence
