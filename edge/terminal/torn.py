"""Debits whose answer is missing (灰记录、防拔): what a terminal remembers of them until the card comes back."""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.purse.inspect import AIDS, CardView
from libs.purse.scheme import Scheme
from libs.purse.terminal import AnswerB, Purchase
from libs.records.codes import Kind
from libs.records.numbers import CardClass
from libs.records.otr import Flag, read_records

CLASSES = {Scheme.CJ: CardClass.CPU_CJ, Scheme.JT: CardClass.CPU_JT}
_SCHEMES = {int(card_class): scheme for scheme, card_class in CLASSES.items()}


@dataclass(frozen=True, slots=True)
class Price:
    """What a tap costs.

    Attributes:
        amount_fen: What the card pays.
        list_price_fen: Before discounts.
        discount_rule: For the record; 0 none.
        transfer_discount: Flag b3 of the record.
        discount_state: 32 bytes that the card shall remember with the debit (libs.fares.state); empty for none.
        highest_fen: Of an entry: what the trip costs at most, for the card's log.
        longest_minutes: Of an entry: how long the trip may last, for the card's log.
    """

    amount_fen: int
    list_price_fen: int
    discount_rule: int = 0
    transfer_discount: bool = False
    discount_state: bytes = b""
    highest_fen: int = 0
    longest_minutes: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a debit is for; kept while it is torn."""

    kind: Kind
    main_type: int
    price: Price


@dataclass(frozen=True, slots=True)
class TornTap:
    """A debit that was sent and not answered.

    Attributes:
        grey: As it lies in the journal.
        asked: What it was for.
        by_other_program: It was found after a power cut: the security module has forgotten its session.
    """

    grey: Purchase
    asked: Asked
    by_other_program: bool = False


def from_record(record: bytes, kind: int, aids: Sequence[bytes]) -> TornTap:
    """A torn tap from the grey record that a power cut left.

    The record has the balance less the overdraft limit, and not the limit: of a card whose overdraft was in use the
    recovery finds nothing certain, and the record goes up as grey.

    Args:
        record: 128 bytes, kind 08.
        kind: Of the record that it should have become.
        aids: Applications of the terminal, by preference.
    """
    (row,) = read_records(record)
    scheme = _SCHEMES[int(row["card_class"])]
    view = CardView(
        aid=next(aid for aid in aids if AIDS[aid] is scheme),
        scheme=scheme,
        issuer=row["issuer"].tobytes(),
        number=row["card_number"].tobytes(),
        city=row["card_city"].tobytes(),
        enabled=True,
        # Both days are unknown by now: the hints of a recovered tap need them, and find none.
        expiry=bytes.fromhex("99991231"),
    )
    answer = AnswerB(
        old_balance_fen=int(row["balance_before_fen"]),
        offline_counter=int(row["card_counter"]),
        overdraft_limit_fen=0,
        key_version=int(row["key_version"]),
        algorithm_id=int(row["algorithm"]),
        random=bytes(4),
    )
    grey = Purchase(
        view,
        answer,
        int(row["amount_fen"]),
        int(row["tti"]),
        row["terminal_number"].tobytes(),
        int(row["terminal_seq"]),
        row["time"].tobytes(),
    )
    price = Price(
        int(row["amount_fen"]),
        int(row["list_price_fen"]),
        int(row["discount_rule"]),
        bool(int(row["flags"]) & Flag.TRANSFER_DISCOUNT),
    )
    return TornTap(grey, Asked(Kind(kind), int(row["card_main_type"]), price), by_other_program=True)
