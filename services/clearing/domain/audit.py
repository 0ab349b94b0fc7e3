"""Price audit (票价稽核): what a terminal charged against the fare pack in force at that instant, as columns.

A record says its list price, its card type and whether the terminal marked a transfer; from these the pack gives the
amount (docs/domain/card-lifecycle-and-fares.md, section 4). Whether a card was *entitled* to a transfer is not asked
here: the mark is taken as given, and a discount without the mark is a deviation of its own.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from libs.fares.columns import evaluate_columns
from libs.fares.evaluate import Charge, Tap, evaluate
from libs.fares.rules import RulePack, Step
from libs.records import otr
from libs.records.bcd import LOCAL_TIME
from libs.records.codes import Kind

_AUDITED = (Kind.PURCHASE, Kind.ENTRY, Kind.EXIT, Kind.CORRECTION)


class DeviationKind(IntEnum):
    """How a charge deviates; the numbers of `FareDeviationKind`. The first that explains the amount is told."""

    UNMARKED_TRANSFER = 1
    """The price with a transfer discount, but the terminal did not mark a transfer."""
    MARKED_WITHOUT_DISCOUNT = 2
    """A transfer was marked, but the price is the one without its discount."""
    OTHER_CARD_TYPE = 3
    """The price that another card type pays."""
    UNEXPLAINED = 4
    """No rule of the pack makes this price."""


@dataclass(frozen=True, slots=True)
class FarePack:
    """A pack and where and from when on it is in force.

    Attributes:
        id: Surrogate.
        participant: Surrogate of the participant that it holds for; 0 for all that have none of their own.
        effective_s: Epoch seconds; in force until the next one of the same participant.
    """

    id: int
    participant: int
    effective_s: int
    pack: RulePack


@dataclass(frozen=True, slots=True)
class Deviations:
    """Records that were charged otherwise; columns of equal length.

    Attributes:
        rows: Which records.
        pack_id: By which pack.
        kind: `DeviationKind`.
        rule_id: The rule that makes the right price, 0 for none.
        expected_fen: The right price.
    """

    rows: npt.NDArray[np.int64]
    pack_id: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    rule_id: npt.NDArray[np.uint16]
    expected_fen: npt.NDArray[np.int64]


def audit(
    records: otr.Records,
    times_s: npt.NDArray[np.int64],
    participant: npt.NDArray[np.int64],
    asked: npt.NDArray[np.bool_],
    packs: list[FarePack],
) -> Deviations:
    """Compare the charges of records with the packs in force; records under no pack are not judged.

    Args:
        records: (n,) OTR.
        times_s: (n,) transaction time, epoch seconds.
        participant: (n,) surrogate of the participant that the record counts for.
        asked: (n,) whether the record is to be looked at; others may hold anything.
        packs: Without monthly tiers.
    """
    in_force = packs_in_force(times_s, participant, packs)
    asked = asked & np.isin(records["kind"], _AUDITED) & (in_force >= 0)
    parts = [
        _of_pack(records, np.flatnonzero(asked & (in_force == place)), packs[place])
        for place in np.unique(in_force[asked]).tolist()
    ]
    if not parts:
        none = np.zeros(0, np.int64)
        return Deviations(none, none, np.zeros(0, np.uint8), np.zeros(0, np.uint16), none)
    return Deviations(
        np.concatenate([one.rows for one in parts]),
        np.concatenate([one.pack_id for one in parts]),
        np.concatenate([one.kind for one in parts]),
        np.concatenate([one.rule_id for one in parts]),
        np.concatenate([one.expected_fen for one in parts]),
    )


def pack_of(packs: list[FarePack], participant: int, at_s: int) -> FarePack | None:
    """The pack in force for a participant at an instant."""
    place = int(packs_in_force(np.array([at_s]), np.array([participant]), packs)[0])
    return packs[place] if place >= 0 else None


def explain(pack: RulePack, record: otr.Records, at: datetime) -> Charge:
    """The price of one record step by step, in Chinese and English, with the mark that it carries.

    Args:
        pack: In force at the transaction.
        record: (1,) OTR.
        at: Transaction time.
    """
    (row,) = record
    tap = Tap(
        mode=int(row["industry"]),
        main_type=int(row["card_main_type"]),
        list_price_fen=int(row["list_price_fen"]),
        at=at.astimezone(LOCAL_TIME),
        line=row["line"].tobytes().hex(),
        transfer=bool(row["flags"] & otr.Flag.TRANSFER_DISCOUNT),
    )
    return evaluate(pack, tap)


def packs_in_force(
    times_s: npt.NDArray[np.int64], participant: npt.NDArray[np.int64], packs: list[FarePack]
) -> npt.NDArray[np.int64]:
    """Index of the pack of each record, -1 for none: a participant's own overrules the general one."""
    place = np.full(len(times_s), -1, np.int64)
    for index in sorted(range(len(packs)), key=lambda one: (packs[one].participant != 0, packs[one].effective_s)):
        pack = packs[index]
        holds = times_s >= pack.effective_s
        place[holds & (participant == pack.participant) if pack.participant else holds] = index
    return place


def _of_pack(records: otr.Records, rows: npt.NDArray[np.intp], pack: FarePack) -> Deviations:
    prices, types, modes = (records[name][rows] for name in ("list_price_fen", "card_main_type", "industry"))
    marks = (records["flags"][rows] & otr.Flag.TRANSFER_DISCOUNT) != 0
    paid = records["amount_fen"][rows].astype(np.int64)
    right = evaluate_columns(pack.pack, prices, types, marks, modes)
    odd = np.flatnonzero(paid != right.amount_fen)
    prices, types, modes, marks, paid = prices[odd], types[odd], modes[odd], marks[odd], paid[odd]
    kind = np.full(len(odd), DeviationKind.UNEXPLAINED, np.uint8)
    # Written from the last to the first, so that the first explanation stays.
    named = {one for rule in pack.pack.rules if rule.step is Step.CARD_TYPE for one in rule.main_types or ()}
    for other in sorted(named):
        as_other = evaluate_columns(pack.pack, prices, np.full(len(odd), other, np.uint8), marks, modes).amount_fen
        kind[(as_other == paid) & (types != other)] = DeviationKind.OTHER_CARD_TYPE
    turned = evaluate_columns(pack.pack, prices, types, ~marks, modes).amount_fen == paid
    kind[turned & marks] = DeviationKind.MARKED_WITHOUT_DISCOUNT
    kind[turned & ~marks] = DeviationKind.UNMARKED_TRANSFER
    return Deviations(
        rows[odd].astype(np.int64), np.full(len(odd), pack.id, np.int64), kind, right.rule_id[odd],
        right.amount_fen[odd],
    )  # fmt: skip
