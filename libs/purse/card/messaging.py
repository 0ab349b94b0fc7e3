"""Secure messaging (安全报文) as the card sees it: MACs, enciphered data, protected answers (purse-crypto.md, 5)."""

import hmac
from collections.abc import Callable

from libs.purse import status
from libs.purse.apdu import Command
from libs.purse.card.files import FileSpec, Read, Update, permits
from libs.purse.card.session import Session
from libs.purse.card.state import Application
from libs.purse.crypto import MAC_SIZE
from libs.purse.secure_messaging import deciphered, enciphered

PLAIN, PROTECTED = 0x00, 0x04

Answer = Callable[[bytes], bytes]


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


def bare_refusal(session: Session, application: Application, command: Command, key: bytes = b"") -> bytes:
    """As `mac_refusal`, for commands whose data is the MAC alone."""
    if command.data and len(command.data) != MAC_SIZE:
        return status.WRONG_LENGTH
    return mac_refusal(session, application, command, key)


def enciphered_data(
    session: Session, application: Application, command: Command, key: bytes = b""
) -> tuple[bytes, bytes]:
    """Refusal (empty when there is none) and plain data of a command that is enciphered and has a MAC."""
    refusal = mac_refusal(session, application, command, key)
    if refusal:
        return refusal, b""
    keys = application.keys
    plain = deciphered(keys.algorithm, key or keys.maintenance, command.data[:-MAC_SIZE])
    return (status.BAD_DATA, b"") if plain is None else (b"", plain)


def written_data(session: Session, application: Application, spec: FileSpec, command: Command) -> tuple[bytes, bytes]:
    """Refusal (empty when there is none) and the plain data of a write to a file.

    Refusals, first match wins: 6982 (never, or another security state), 6900 (protection where none belongs),
    6987, 6984, 6988, 6A80 (cipher text that is none).
    """
    if spec.update is Update.NEVER or not permits(spec.update_right, session.state):
        return status.SECURITY_STATUS, b""
    if spec.update is Update.FREE:
        return (status.LINE_PROTECTION, b"") if command.cla != PLAIN else (b"", command.data)
    if command.cla != PROTECTED:
        return status.MAC_MISSING, b""
    if spec.update is Update.CIPHER:
        return enciphered_data(session, application, command)
    return mac_refusal(session, application, command), command.data[:-MAC_SIZE]


def read_answer(
    session: Session, application: Application | None, spec: FileSpec, command: Command
) -> tuple[bytes, Answer]:
    """Refusal (empty when there is none), and what makes an answer of the data that is read.

    A protected answer is data (enciphered where the file demands it) and a MAC over what is sent, under the command's
    own key and challenge [convention]: the standards at hand give its length only.
    """
    if not permits(spec.read_right, session.state):
        return status.SECURITY_STATUS, bytes
    if spec.read is Read.FREE or application is None:
        if command.cla != PLAIN:
            return status.LINE_PROTECTION, bytes
        return (status.WRONG_LENGTH if command.data else b""), bytes
    if command.cla != PROTECTED:
        return status.MAC_MISSING, bytes
    challenge = session.challenge
    refusal = bare_refusal(session, application, command)
    keys, cipher = application.keys, spec.read is Read.CIPHER

    def protected(data: bytes) -> bytes:
        sent = enciphered(keys.algorithm, keys.maintenance, data) if cipher else data
        return sent + keys.algorithm.command_mac(keys.maintenance, challenge, sent)

    return refusal, protected
