"""Security commands of the card: VERIFY, MAC4, blocking (purse-protocol.md, section 2; purse-crypto.md, section 5)."""

import hmac

from libs.purse import status
from libs.purse.apdu import Command
from libs.purse.card.session import Session
from libs.purse.card.state import PIN_TRIES, UNBLOCK_TRIES, Application, Block
from libs.purse.crypto import MAC_SIZE


def verify_pin(session: Session, application: Application, command: Command) -> bytes:
    """VERIFY: the PIN as it was issued; a locked PIN stays locked, whatever is sent."""
    if command.p1:
        return status.WRONG_PARAMETERS
    if not 2 <= len(command.data) <= 6:
        return status.WRONG_LENGTH
    if not application.pin_tries:
        return status.KEY_LOCKED
    if not hmac.compare_digest(application.pin, command.data):
        session.pin_verified = False
        application.pin_tries -= 1
        return status.tries_left(application.pin_tries)
    application.pin_tries = PIN_TRIES
    session.pin_verified = True
    return status.OK


def mac_refusal(session: Session, application: Application, command: Command, key: bytes = b"") -> bytes:
    """Why the MAC4 of a command is not accepted; empty when it is. The challenge is spent either way.

    Args:
        session: Holds the challenge.
        application: Whose keys count.
        command: The whole command; its last 4 data bytes are the MAC.
        key: Another key than the maintenance key.
    """
    challenge, session.challenge = session.challenge, b""
    if len(command.data) < MAC_SIZE:
        return status.MAC_MISSING
    if not challenge:
        return status.NO_CHALLENGE
    keys = application.keys
    message = command.raw[: 5 + len(command.data) - MAC_SIZE]
    expected = keys.algorithm.command_mac(key or keys.maintenance, challenge, message)
    return b"" if hmac.compare_digest(expected, command.data[-MAC_SIZE:]) else status.MAC_WRONG


def block_application(session: Session, application: Application, command: Command) -> bytes:
    """APPLICATION BLOCK: reversible (P2 00) or for ever (P2 01)."""
    if command.p1 or command.p2 > 1:
        return status.WRONG_PARAMETERS
    refusal = _bare_refusal(session, application, command, application.keys.block)
    if refusal:
        return refusal
    if command.p2:
        application.block = Block.FOR_EVER
    elif application.block is Block.NONE:
        application.block = Block.REVERSIBLE
    return status.OK


def unblock_application(session: Session, application: Application, command: Command) -> bytes:
    """APPLICATION UNBLOCK; three wrong MACs lose the application for ever."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    if application.block is Block.NONE:
        return status.CONDITIONS
    refusal = _bare_refusal(session, application, command)
    if refusal == status.MAC_WRONG:
        application.unblock_tries -= 1
        if not application.unblock_tries:
            application.block = Block.FOR_EVER
            return status.BLOCKED_FOR_EVER
    if refusal:
        return refusal
    application.block = Block.NONE
    application.unblock_tries = UNBLOCK_TRIES
    return status.OK


def _bare_refusal(session: Session, application: Application, command: Command, key: bytes = b"") -> bytes:
    """As `mac_refusal`, for commands whose data is the MAC alone."""
    if command.data and len(command.data) != MAC_SIZE:
        return status.WRONG_LENGTH
    return mac_refusal(session, application, command, key)


def card_block_refusal(session: Session, application: Application, command: Command) -> bytes:
    """Why CARD BLOCK is not accepted; empty when it is."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    return _bare_refusal(session, application, command)
