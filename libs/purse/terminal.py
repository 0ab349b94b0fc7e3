"""The terminal's side, offline: purchase, complex purchase, tear recovery, card lock (purse-protocol.md, 3.2-3.7).

Card and PSAM are `Transceiver`s. The order of the steps is the protocol: the journal has the grey record before the
card is asked to pay, and the final one replaces it before the PSAM is told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from libs.errors import Refusal
from libs.purse import status
from libs.purse.apdu import build
from libs.purse.crypto import pad
from libs.purse.fields import amount_bytes, stamp_bytes
from libs.purse.inspect import CardView, select
from libs.purse.transactions import PurseId, Tti
from libs.purse.transceiver import CardGone, Transceiver, demand, exchange, refused

KEY_INDEX = 1

_GET_CHALLENGE = bytes.fromhex("0084000004")
_BLOCK_HEADER = bytes.fromhex("841E000004")


class MoneyNotEnough(Refusal):
    """The purse does not hold the amount; nothing was written."""

    reason = "MONEY_NOT_ENOUGH"


@dataclass(frozen=True, slots=True)
class AnswerB:
    """What a card answers to INITIALIZE FOR PURCHASE (purse-protocol.md, section 2).

    Attributes:
        old_balance_fen: As the chip says it: a JT card's overdraft limit is included.
        offline_counter: Before the transaction.
        overdraft_limit_fen: 0 of CJ cards.
        key_version: Of the purchase key, and of the TAC key with it.
        algorithm_id: Algorithm byte.
        random: 4 bytes.
    """

    old_balance_fen: int
    offline_counter: int
    overdraft_limit_fen: int
    key_version: int
    algorithm_id: int
    random: bytes

    @property
    def real_balance_fen(self) -> int:
        """The holder's money: balance less overdraft limit, negative when the limit is in use."""
        return self.old_balance_fen - self.overdraft_limit_fen

    @classmethod
    def parse(cls, answer: bytes) -> "AnswerB":
        """From 15 bytes."""
        assert len(answer) == 15, "answer B has 15 bytes; the exchange checked it"
        return cls(
            old_balance_fen=int.from_bytes(answer[:4], "big"),
            offline_counter=int.from_bytes(answer[4:6], "big"),
            overdraft_limit_fen=int.from_bytes(answer[6:9], "big"),
            key_version=answer[9],
            algorithm_id=answer[10],
            random=answer[11:],
        )


@dataclass(frozen=True, slots=True)
class CappWrite:
    """One record that a complex purchase writes: P1, P2 and data of UPDATE CAPP DATA CACHE."""

    p1: int
    p2: int
    data: bytes

    @classmethod
    def append(cls, sfi: int, record: bytes) -> "CappWrite":
        """A new record of a cyclic file."""
        return cls(0x00, sfi << 3, record)


@dataclass(frozen=True, slots=True)
class Purchase:
    """Everything of one debit that an offline record needs (record-formats.md, section 1).

    Attributes:
        view: Card and application.
        answer: Balance, counter, key version and algorithm as the card gave them.
        amount_fen: Asked of the card.
        tti: 06 or 09.
        terminal: Terminal number, 6 bytes BCD.
        sequence: Terminal seq of the PSAM.
        stamp: Date and time as signed, 7 bytes BCD.
        tac: 4 bytes; empty while the answer of the debit is not known (grey).
        mac2: 4 bytes; empty likewise.
        sam_agreed: What the PSAM said of MAC2; None when it was not asked. The card has paid either way.
    """

    view: CardView
    answer: AnswerB
    amount_fen: int
    tti: int
    terminal: bytes
    sequence: int
    stamp: bytes
    tac: bytes = b""
    mac2: bytes = b""
    sam_agreed: bool | None = None

    @property
    def grey(self) -> bool:
        """The card was asked to pay and no answer is known."""
        return not self.tac


class Torn(Refusal):
    """The card left after the debit was sent: it may have paid. `purchase` is the grey record; `recover` decides it."""

    reason = "CARD_TORN"

    def __init__(self, purchase: Purchase) -> None:
        super().__init__(card=purchase.view.identity.text, sequence=purchase.sequence)
        self.purchase = purchase


Journal = Callable[[Purchase], None]
"""Makes a record durable before it returns; raising stops the transaction before the card is asked to pay."""


def read_balance(card: Transceiver, purse: PurseId) -> int:
    """Balance in fen of one purse of the selected application, as the chip says it: an overdraft limit is included.

    Raises:
        CardRefused: 6A81: the application has no such purse.
        CardGone: The card left.
    """
    return int.from_bytes(demand(card, bytes((0x80, 0x5C, 0x00, purse, 0x04)), size=4), "big")


def purchase(
    card: Transceiver,
    sam: Transceiver,
    view: CardView,
    amount_fen: int,
    *,
    terminal: bytes,
    at: datetime,
    journal: Journal,
    writes: Callable[[AnswerB], Sequence[CappWrite]] | None = None,
) -> Purchase:
    """Debit the selected application: simple (TTI 06), or complex (09) when `writes` is given.

    Args:
        card: The card, its application selected.
        sam: The PSAM.
        view: What `select` read.
        amount_fen: 0 or more.
        terminal: Terminal number of the PSAM (file 0016), 6 bytes BCD.
        at: Terminal time, aware.
        journal: Called with the grey record before the debit, and with the final one right after it.
        writes: What the card shall record with the debit, decided from answer B.

    Raises:
        MoneyNotEnough: 9401.
        CardRefused: Another refusal of card or PSAM; the card has not paid.
        CardGone: The card left before the debit was sent; it has not paid.
        Torn: The card left after that; see `recover`.
    """
    amount = amount_bytes(amount_fen)
    complex_purchase = writes is not None
    answer = _initialise(card, amount, terminal, b"\x80\x50\x03\x02" if complex_purchase else b"\x80\x50\x01\x02")
    tti = Tti.CAPP_PURCHASE if complex_purchase else Tti.EP_PURCHASE
    stamp = stamp_bytes(at)
    request = (
        answer.random
        + answer.offline_counter.to_bytes(2, "big")
        + amount
        + bytes((tti,))
        + stamp
        + bytes((answer.key_version, answer.algorithm_id))
        + view.sam_factors
    )
    made = demand(sam, build(b"\x80\x70\x00\x00", request, 8), size=8)
    sequence, mac1 = made[:4], made[4:]
    for write in writes(answer) if writes else ():
        demand(card, build(bytes((0x80, 0xDC, write.p1, write.p2)), write.data))
    grey = Purchase(view, answer, amount_fen, tti, terminal, int.from_bytes(sequence, "big"), stamp)
    journal(grey)
    try:
        proof = demand(card, build(b"\x80\x54\x01\x00", sequence + stamp + mac1, 8), size=8)
    except CardGone as gone:
        raise Torn(grey) from gone
    return _completed(sam, grey, tac=proof[:4], mac2=proof[4:], journal=journal)


class Finding(Enum):
    """What became of a torn debit (purse-protocol.md, section 3.4)."""

    NOT_DONE = "not done: drop the grey record"
    DONE = "done and proven: the record is final"
    DONE_WITHOUT_PROOF = "done, the proof was overwritten: upload as grey"
    UNKNOWN = "another card, or nothing certain: keep and upload as grey"


def recover(card: Transceiver, sam: Transceiver, grey: Purchase, journal: Journal) -> tuple[Finding, Purchase]:
    """Decide a torn debit with the card in the field again.

    The counter is asked before the proof: a proof under the un-incremented counter, which some cards need, is on
    others that of the transaction before. A proof found is shown to the PSAM, which still holds the session.

    Raises:
        CardGone: The card left again; nothing was decided.
        CardRefused: The card does not answer as a purse.
    """
    view = select(card, grey.view.aid)
    if view is None or view.blocked or view.identity != grey.view.identity:
        return Finding.UNKNOWN, grey
    now = _initialise(card, bytes(4), grey.terminal, b"\x80\x50\x01\x02")
    before = grey.answer
    if now.offline_counter == before.offline_counter:
        unchanged = now.old_balance_fen == before.old_balance_fen
        return (Finding.NOT_DONE if unchanged else Finding.UNKNOWN), grey
    if now.offline_counter == before.offline_counter + 1:
        proof = _proof(card, grey)
        if proof:
            return Finding.DONE, _completed(sam, grey, tac=proof[4:], mac2=proof[:4], journal=journal)
    if now.old_balance_fen == before.old_balance_fen - grey.amount_fen and grey.amount_fen:
        return Finding.DONE_WITHOUT_PROOF, grey
    return Finding.UNKNOWN, grey


def lock_card(card: Transceiver, sam: Transceiver, view: CardView, *, key_version: int = 1) -> None:
    """Block the selected application of a blacklisted card, reversibly (section 3.7); the caller writes the record.

    Raises:
        CardRefused: PSAM or card refused; the card is as it was.
        CardGone: The card left; it may or may not be blocked.
    """
    challenge = demand(card, _GET_CHALLENGE, size=4)
    demand(sam, build(bytes((0x80, 0x1A, 0x25, key_version)), view.number[-8:]))
    mac = demand(sam, build(b"\x80\xfa\x05\x00", challenge + bytes(4) + pad(_BLOCK_HEADER)))[:4]
    demand(card, _BLOCK_HEADER + mac)


def _initialise(card: Transceiver, amount: bytes, terminal: bytes, header: bytes) -> AnswerB:
    data, word = exchange(card, build(header, bytes((KEY_INDEX,)) + amount + terminal, 15))
    if word == status.NOT_ENOUGH_MONEY:
        raise MoneyNotEnough(amount_fen=int.from_bytes(amount, "big"))
    if word != status.OK or len(data) != 15:
        raise refused(header, word, len(data))
    return AnswerB.parse(data)


def _completed(sam: Transceiver, grey: Purchase, *, tac: bytes, mac2: bytes, journal: Journal) -> Purchase:
    """The final record, journalled at once; only then the PSAM is asked, and its answer is but a remark."""
    done = replace(grey, tac=tac, mac2=mac2)
    journal(done)
    _, word = exchange(sam, build(b"\x80\x72\x00\x00", mac2))
    return replace(done, sam_agreed=word == status.OK)


def _proof(card: Transceiver, grey: Purchase) -> bytes:
    """MAC2 and TAC by GET TRANSACTION PROVE; first the number of the log, then once the un-incremented one."""
    for counter in (grey.answer.offline_counter + 1, grey.answer.offline_counter):
        command = build(bytes((0x80, 0x5A, 0x00, grey.tti)), counter.to_bytes(2, "big"), 8)
        data, word = exchange(card, command)
        if word == status.OK and len(data) == 8:
            return data
    return b""
