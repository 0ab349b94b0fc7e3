"""What a terminal writes on the card with a debit: transit log and discount state (card-files.md, section 3)."""

from edge.terminal.record import TerminalFacts
from edge.terminal.torn import Price
from libs.fares.state import STATE_LENGTH
from libs.purse import status
from libs.purse.fields import amount_bytes
from libs.purse.scheme import Scheme
from libs.purse.terminal import AnswerB, CappWrite
from libs.purse.transceiver import Transceiver, exchange
from libs.records.codes import Kind

TRANSIT_LOG_SFI = 0x1E
# Type byte of the transit log; one that a use of a pass writes is that of a single purchase [convention].
_TRANSIT_TYPE = {
    Kind.ENTRY: 0x03, Kind.EXIT: 0x04, Kind.PURCHASE: 0x06, Kind.PASS_USED: 0x06, Kind.CORRECTION: 0x08,
}  # fmt: skip
_STATE_ID = 0x20
# Where the discount state lies: file, bytes before it, length of the record. Of a JT card it is a record of our own
# behind the bus trip [convention], of a CJ card record 20 of file 0017.
_STATE_PLACE = {Scheme.JT: (0x1A, b"\x27\x20\x7d", 128), Scheme.CJ: (0x17, b"", 32)}


def transit_record(facts: TerminalFacts, kind: Kind, answer: AnswerB, price: Price, stamp: bytes) -> bytes:
    """One record of the card's transit log, file 001E, 48 bytes."""
    after_fen = max(0, answer.old_balance_fen - price.amount_fen)
    return (
        bytes((_TRANSIT_TYPE[kind],))
        + bytes(2) + facts.terminal_packed
        + bytes((facts.industry_code & 0xFF,))
        + b"\x00" + facts.line_packed
        + facts.station.to_bytes(2, "big") + b"\x00"
        + amount_bytes(price.amount_fen)
        + amount_bytes(after_fen)
        + stamp
        + facts.city_packed
        + facts.acquirer_packed
        + amount_bytes(price.highest_fen)
        + price.longest_minutes.to_bytes(2, "big")
    )  # fmt: skip


def read_discount_state(card: Transceiver, scheme: Scheme) -> bytes:
    """The 32 bytes of the discount state of the selected application; empty when the card has no place for it.

    Raises:
        CardGone: The card left.
    """
    sfi, head, length = _STATE_PLACE[scheme]
    data, word = exchange(card, bytes((0x00, 0xB2, _STATE_ID, sfi << 3, length)))
    if word != status.OK or len(data) != length:
        return b""
    return data[len(head) : len(head) + STATE_LENGTH]


def discount_write(scheme: Scheme, state: bytes) -> CappWrite | None:
    """The write of a discount state, to be cached for the debit; None when there is none to write."""
    if not state:
        return None
    sfi, head, length = _STATE_PLACE[scheme]
    return CappWrite(_STATE_ID, sfi << 3, (head + state).ljust(length, b"\x00"))
