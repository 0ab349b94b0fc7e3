"""Letting a planned day happen: every tap is a dialogue of a virtual card with a virtual terminal and its PSAM."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from city.keys import CITY_CODE, ISSUER_ID, city_keys
from city.simulation.operators import OPERATORS
from city.simulation.plan import CardColumns, DayPlan, TerminalColumns
from edge.terminal.blacklist import TerminalBlacklist
from edge.terminal.journal import MemoryJournal
from edge.terminal.record import TerminalFacts
from edge.terminal.terminal import Price, Terminal
from libs.clock import FixedClock
from libs.keystore.soft import SoftKeyStore
from libs.purse.card import JT, Holder, VirtualCard, bulk_card_keys, personalise
from libs.purse.inspect import CardView
from libs.purse.sam import issue_sam
from libs.purse.scheme import Scheme
from libs.purse.sequence import MemorySequence
from libs.records.codes import Kind
from libs.records.numbers import institution_bytes, psam_bytes, terminal_bytes
from libs.records.otr import OTR, Records, read_records

KEY_VERSION: Final = 1
ALGORITHM_ID: Final = 0
PARAMETER_VERSION: Final = 1
# Chips end on the day on which the products of the demo end (city/demo/registration.py).
VALIDITY_DAYS: Final = 3_650
_ISSUER = institution_bytes(ISSUER_ID)
_PROGRESS_TAPS = 500


@dataclass(frozen=True, slots=True)
class PlayedDay:
    """What the terminals have in their journals at the end of the day.

    Attributes:
        plan: The day that was played.
        records: Record of every tap, in the order of `plan.taps`.
        balances_fen: What every chip holds now, in the order of `plan.cards`.
    """

    plan: DayPlan
    records: Records
    balances_fen: npt.NDArray[np.int64]

    def records_of(self, operator: int) -> Records:
        """The records that an operator's collector finds, the ones sent twice at the end.

        Args:
            operator: Place in `OPERATORS`.
        """
        operators = self.plan.operators_of_taps
        again = self.plan.sent_again[operators[self.plan.sent_again] == operator]
        # By index: joining two arrays of records would turn their fields into the byte order of this machine.
        found: Records = self.records[np.concatenate([np.flatnonzero(operators == operator), again])]
        return found


def play(plan: DayPlan, seed: int, progress: Callable[[int], None] = lambda taps: None) -> PlayedDay:
    """Personalise cards and terminals, and let them tap.

    Args:
        plan: The day.
        seed: Of the cards' random numbers.
        progress: Told now and then how many taps are done.
    """
    keys = city_keys()
    clock = FixedClock(datetime.fromtimestamp(0, UTC))
    cards = make_cards(keys, plan.cards, plan.valid_from, seed)
    terminals = make_terminals(keys, plan.terminals, clock)
    asked = Price(0, 0)

    def pricing(view: CardView, main_type: int) -> Price:
        return asked

    made: list[bytes] = []
    for tap in plan.taps.tolist():
        time_s, card, place, kind, list_price_fen, amount_fen, rule, transfer = tap
        clock.set(datetime.fromtimestamp(time_s, UTC))
        asked = Price(amount_fen, list_price_fen, rule, transfer)
        terminal, transceiver = terminals[place], cards[card].transmit
        if kind == Kind.PURCHASE:
            done = terminal.pay(transceiver, pricing)
        elif kind == Kind.ENTRY:
            done = terminal.enter(transceiver, pricing)
        else:
            done = terminal.leave(transceiver, pricing)
        made.append(done.record)
        if not len(made) % _PROGRESS_TAPS:
            progress(len(made))
    progress(len(made))
    collected = sum(len(terminal.journal.pending(len(made))) for terminal in terminals)
    assert collected == len(made), "every record that was made lies in a journal"
    balances = [card.applications[0].purse.balance_fen for card in cards]
    records = read_records(b"".join(made)) if made else np.zeros(0, OTR)
    return PlayedDay(plan, records, np.array(balances, np.int64))


def make_cards(keys: SoftKeyStore, cards: CardColumns, valid_from: date, seed: int) -> list[VirtualCard]:
    """Personalised cards, each with its opening balance on the chip.

    Args:
        keys: The city's keys.
        cards: Numbers, main types, balances.
        valid_from: First day on the chip.
        seed: Of their random numbers.
    """
    source = random.Random(seed)
    holders = {int(main_type): Holder(int(main_type)) for main_type in np.unique(cards.main_types)}
    made = []
    all_keys = bulk_card_keys(keys, Scheme.JT, _ISSUER, cards.numbers, version=KEY_VERSION, algorithm_id=ALGORITHM_ID)
    for number, main_type, opening_fen, card_keys in zip(
        cards.numbers, cards.main_types.tolist(), cards.opening_fen.tolist(), all_keys, strict=True
    ):
        card = personalise(
            JT,
            number.tobytes(),
            card_keys,
            issuer=_ISSUER,
            start=valid_from,
            expiry=valid_from + timedelta(days=VALIDITY_DAYS),
            holder=holders[main_type],
            random=source.randbytes,
        )
        application = card.applications[0]
        application.commit(replace(application.purse, balance_fen=opening_fen))
        made.append(card)
    return made


def make_terminals(keys: SoftKeyStore, terminals: TerminalColumns, clock: FixedClock) -> list[Terminal]:
    """Terminals with their PSAMs, all on one clock and with an empty blacklist."""
    blacklist = TerminalBlacklist()
    made = []
    for place, number in enumerate(terminals.numbers):
        operator = OPERATORS[terminals.operators[place]]
        facts = TerminalFacts(
            terminal_number=number,
            psam_number=terminals.psam_number(place),
            acquirer_id=operator.institution_id,
            accepting_city=CITY_CODE,
            industry_code=operator.industry_code,
            operator_number=operator.number,
            device_number=place + 1,
            line=f"{terminals.lines[place]:06d}",
            station=int(terminals.stations[place]),
        )
        sam = issue_sam(
            keys, Scheme.JT, _ISSUER, terminal_bytes(number), MemorySequence(), number=psam_bytes(facts.psam_number)
        )
        made.append(
            Terminal(
                facts,
                sam.transmit,
                MemoryJournal(),
                clock,
                blacklist,
                parameter_version=PARAMETER_VERSION,
                aids=(JT.aid,),
                # Every tap of the plan has happened, also two of one card within a moment: two riders with one card.
                double_tap_s=0,
            )
        )
    return made
