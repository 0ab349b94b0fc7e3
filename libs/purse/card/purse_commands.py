"""Purse commands of the card that initialise, read and prove (purse-protocol.md, sections 2 and 3).

`settle.py` has the second halves: CREDIT, DEBIT and UPDATE OVERDRAW LIMIT.
"""

from collections.abc import Callable
from typing import NamedTuple

from libs.purse import status
from libs.purse.apdu import Command
from libs.purse.card.files import FileKind
from libs.purse.card.profiles import BALANCE_MAX_FEN
from libs.purse.card.session import Pending, Session
from libs.purse.card.state import Application, KeyUse, PurseState
from libs.purse.fields import amount_bytes, limit_bytes
from libs.purse.transactions import (
    PurseId,
    Tti,
    load_mac1_data,
    online_session_input,
    overdraft_mac1_data,
)

_COUNTER_MAX = 0xFFFF
_RANDOM_SIZE = 4

Random = Callable[[int], bytes]
# A complex purchase fills a buffer of the chip; four records are more than any terminal in service sends [convention].
_WRITES_MAX = 4


class _Kind(NamedTuple):
    """One INITIALIZE command.

    Attributes:
        tti: What the transaction signs.
        purse: Which purse it moves.
        use: Key that makes the session key.
        size: Of the command data.
        answer: Size of answer A or B.
        pin: Whether the PIN must be verified: of every transaction but purchases with the EP.
    """

    tti: Tti
    purse: PurseId
    use: KeyUse
    size: int
    answer: int
    pin: bool


# (P1, P2) of INITIALIZE FOR ... (section 2).
_KINDS = {
    (0x00, 0x01): _Kind(Tti.ED_LOAD, PurseId.ED, KeyUse.LOAD, 11, 16, pin=True),
    (0x00, 0x02): _Kind(Tti.EP_LOAD, PurseId.EP, KeyUse.LOAD, 11, 16, pin=True),
    (0x01, 0x01): _Kind(Tti.ED_PURCHASE, PurseId.ED, KeyUse.PURCHASE, 11, 15, pin=True),
    (0x01, 0x02): _Kind(Tti.EP_PURCHASE, PurseId.EP, KeyUse.PURCHASE, 11, 15, pin=False),
    (0x02, 0x01): _Kind(Tti.ED_CASH_WITHDRAWAL, PurseId.ED, KeyUse.PURCHASE, 11, 15, pin=True),
    (0x03, 0x02): _Kind(Tti.CAPP_PURCHASE, PurseId.EP, KeyUse.PURCHASE, 11, 15, pin=False),
    (0x04, 0x01): _Kind(Tti.OVERDRAFT_CHANGE, PurseId.ED, KeyUse.OVERDRAFT, 7, 19, pin=True),
    (0x05, 0x01): _Kind(Tti.ED_UNLOAD, PurseId.ED, KeyUse.UNLOAD, 11, 16, pin=True),
}
# Forms that a card refuses by 6A81, function not supported, whatever purses it keeps.
_NEVER_SUPPORTED = frozenset({(0x03, 0x01)})


def get_balance(session: Session, application: Application, command: Command) -> bytes:
    """GET BALANCE of the ED (P2 01) or EP (02); P1 03 is the form of T-Union terminals (section 3.6)."""
    if command.data:
        return status.WRONG_LENGTH
    if command.p1 not in (0x00, 0x03):
        return status.WRONG_PARAMETERS
    if command.p2 not in (PurseId.ED, PurseId.EP) or not application.profile.has_purse(PurseId(command.p2)):
        return status.NOT_SUPPORTED
    if command.le not in (None, 0, 4):
        return status.wrong_le(4)
    return amount_bytes(application.purse_of(PurseId(command.p2)).balance_fen) + status.OK


def initialise(session: Session, application: Application, command: Command, draw: Random) -> bytes:
    """INITIALIZE FOR LOAD (P1 00), PURCHASE (01), CASH WITHDRAW (02), CAPP PURCHASE (03), UPDATE (04), UNLOAD (05).

    Refusals, first match wins: 6A86, 6A81 (no such purse), 6700, 9403, 6Cxx, 9402, 6982 (PIN), and then of a load 6A80
    (the balance would pass its bound), of what takes money 9401.
    """
    kind = _KINDS.get((command.p1, command.p2))
    if kind is None:
        known = (command.p1, command.p2) in _NEVER_SUPPORTED
        return status.NOT_SUPPORTED if known else status.WRONG_PARAMETERS
    if not application.profile.has_purse(kind.purse):
        return status.NOT_SUPPORTED
    if len(command.data) != kind.size:
        return status.WRONG_LENGTH
    keys, purse = application.keys, application.purse_of(kind.purse)
    key = _transaction_key(application, kind.use, command.data[0])
    if key is None:
        return status.KEY_INDEX_UNSUPPORTED
    if command.le not in (None, 0, kind.answer):
        return status.wrong_le(kind.answer)
    offline = kind.use is KeyUse.PURCHASE
    counter = purse.offline_counter if offline else purse.online_counter
    if counter == _COUNTER_MAX:
        return status.COUNTER_AT_MAXIMUM
    if kind.pin and not session.pin_verified:
        return status.SECURITY_STATUS
    if kind.tti is Tti.OVERDRAFT_CHANGE:
        return _initialise_overdraft(session, application, command, draw, key, purse)
    amount, terminal = command.data[1:5], command.data[5:]
    amount_fen = int.from_bytes(amount, "big")
    if kind.use is KeyUse.LOAD:
        if purse.balance_fen + amount_fen > BALANCE_MAX_FEN:
            return status.BAD_DATA
    elif amount_fen > purse.balance_fen:
        return status.NOT_ENOUGH_MONEY
    # The random number is drawn only now: a refusal must not spend one.
    random = draw(_RANDOM_SIZE)
    balance, counted = amount_bytes(purse.balance_fen), counter.to_bytes(2, "big")
    said = bytes((keys.version, keys.algorithm_id)) + random
    if offline:
        session.pending = Pending(kind.tti, amount, terminal, random)
        return balance + counted + limit_bytes(purse.overdraft_limit_fen) + said + status.OK
    session_key = keys.algorithm.session_key(key, online_session_input(random, counted))
    mac1 = keys.algorithm.mac(session_key, load_mac1_data(balance, amount, kind.tti, terminal))
    session.pending = Pending(kind.tti, amount, terminal, random, session_key)
    return balance + counted + said + mac1 + status.OK


def _transaction_key(application: Application, use: KeyUse, index: int) -> bytes | None:
    """The key of a transaction by its index; None when the card has no such key."""
    keys = application.keys
    if use in (KeyUse.OVERDRAFT, KeyUse.UNLOAD):
        other = keys.others.get((use, index))
        return other.key if other else None
    if index != keys.index:
        return None
    return keys.load if use is KeyUse.LOAD else keys.purchase


def _initialise_overdraft(
    session: Session, application: Application, command: Command, draw: Random, key: bytes, purse: PurseState
) -> bytes:
    keys, terminal = application.keys, command.data[1:]
    random = draw(_RANDOM_SIZE)
    balance, limit = amount_bytes(purse.balance_fen), limit_bytes(purse.overdraft_limit_fen)
    counter = purse.online_counter.to_bytes(2, "big")
    session_key = keys.algorithm.session_key(key, online_session_input(random, counter))
    mac1 = keys.algorithm.mac(session_key, overdraft_mac1_data(balance, limit, terminal))
    session.pending = Pending(Tti.OVERDRAFT_CHANGE, b"", terminal, random, session_key)
    return balance + counter + limit + bytes((keys.version, keys.algorithm_id)) + random + mac1 + status.OK


def update_capp_cache(session: Session, application: Application, command: Command, pending: Pending | None) -> bytes:
    """UPDATE CAPP DATA CACHE: remember a record for the DEBIT that follows.

    A refused record ends the transaction: a terminal that went on would debit without having written its trip.
    """
    if pending is None or pending.tti != Tti.CAPP_PURCHASE:
        return status.NOT_IN_THIS_STATE
    sfi, mode = command.p2 >> 3, command.p2 & 7
    if mode not in (0, 4):
        return status.WRONG_PARAMETERS
    spec = application.profile.files.get(sfi)
    if spec is None:
        return status.FILE_NOT_FOUND
    if not spec.capp:
        return status.FILE_TYPE_MISMATCH
    if len(pending.writes) == _WRITES_MAX:
        return status.CONDITIONS
    if spec.kind is FileKind.CYCLIC:
        if command.p1:
            return status.WRONG_PARAMETERS
        if len(command.data) != spec.record_size:
            return status.WRONG_LENGTH
        number = 0
    else:
        content = application.content(spec)
        number = command.p1 if mode == 4 else spec.number_of(content, command.p1)
        old = spec.record(content, number)
        if old is None:
            return status.RECORD_NOT_FOUND
        if len(command.data) != len(old):
            return status.WRONG_LENGTH
        if command.data[spec.identifier_offset] != old[spec.identifier_offset]:
            return status.BAD_DATA
    pending.writes.append((spec, number, command.data))
    session.pending = pending
    return status.OK


def get_transaction_prove(session: Session, application: Application, command: Command) -> bytes:
    """GET TRANSACTION PROVE: MAC2 and TAC of the last transaction, by type and counter after the increment."""
    if command.p1:
        return status.WRONG_PARAMETERS
    if len(command.data) != 2:
        return status.WRONG_LENGTH
    if command.le not in (None, 0, 8):
        return status.wrong_le(8)
    purse = application.purse
    if not purse.proof_of or purse.proof_of != bytes((command.p2,)) + command.data:
        return status.NO_PROOF
    return purse.proof + status.OK


def get_message(session: Session, application: Application, command: Command) -> bytes:
    """GET MESSAGE (取安全认证码) of CJ/T cards: the 9 bytes that the PSAM knows the card by (section 2)."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    if command.data:
        return status.WRONG_LENGTH
    code = application.message_code
    if not code:
        return status.NOT_SUPPORTED
    if command.le not in (None, 0, len(code)):
        return status.wrong_le(len(code))
    return code + status.OK
