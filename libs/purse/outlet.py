"""The outlet's side of a load (圈存), purse-protocol.md section 3.1: it talks to the card, the centre decides."""

from datetime import datetime

from libs.purse import status
from libs.purse.apdu import build
from libs.purse.card.profiles import TRANSIT_PIN
from libs.purse.fields import amount_bytes, stamp_bytes
from libs.purse.terminal import KEY_INDEX
from libs.purse.transactions import PurseId, Tti
from libs.purse.transceiver import Transceiver, demand, exchange


def initialise_load(
    card: Transceiver,
    amount_fen: int,
    *,
    terminal: bytes,
    pin: bytes = TRANSIT_PIN,
    purse: PurseId = PurseId.EP,
) -> bytes:
    """Verify the PIN and start a load; answer A, 16 bytes, goes to the centre unread.

    Args:
        card: The card, its application selected.
        amount_fen: Money to load, in fen.
        terminal: Terminal number of the outlet, 6 bytes BCD.
        pin: As issued.
        purse: Which purse to load.

    Raises:
        CardRefused: The card says no; nothing was written.
        CardGone: The card left; nothing was written.
    """
    demand(card, build(b"\x00\x20\x00\x00", pin))
    request = bytes((KEY_INDEX,)) + amount_bytes(amount_fen) + terminal
    return demand(card, build(bytes((0x80, 0x50, 0x00, purse)), request, 16), size=16)


def credit_for_load(card: Transceiver, at: datetime, mac2: bytes) -> bytes:
    """Finish the load with the centre's time and MAC2; the TAC, 4 bytes, goes back to the centre.

    Raises:
        CardRefused: 9302: nothing was written.
        CardGone: The card left: it may have been written; `load_proof` tells at the next sight.
    """
    return demand(card, build(b"\x80\x52\x00\x00", stamp_bytes(at) + mac2, 4), size=4)


def initialise_unload(card: Transceiver, amount_fen: int, *, terminal: bytes, pin: bytes = TRANSIT_PIN) -> bytes:
    """Verify the PIN and start an unload (圈提) of the ED; answer A, 16 bytes, goes to the centre.

    Raises:
        CardRefused: The card says no (6A81: it has no ED); nothing was written.
        CardGone: The card left; nothing was written.
    """
    demand(card, build(b"\x00\x20\x00\x00", pin))
    request = bytes((KEY_INDEX,)) + amount_bytes(amount_fen) + terminal
    return demand(card, build(b"\x80\x50\x05\x01", request, 16), size=16)


def debit_for_unload(card: Transceiver, at: datetime, mac2: bytes) -> bytes:
    """Finish the unload with the centre's time and MAC2; MAC3, 4 bytes, goes back to the centre.

    Raises:
        CardRefused: 9302: nothing was written.
        CardGone: The card left: it may have been written.
    """
    return demand(card, build(b"\x80\x54\x03\x00", stamp_bytes(at) + mac2, 4), size=4)


def load_proof(card: Transceiver, online_counter: int) -> bytes | None:
    """TAC of the load that began at `online_counter`, or None when the card has no proof of it (9406)."""
    command = build(bytes((0x80, 0x5A, 0x00, Tti.EP_LOAD)), (online_counter + 1).to_bytes(2, "big"), 8)
    data, word = exchange(card, command)
    return data[4:] if word == status.OK and len(data) == 8 else None
