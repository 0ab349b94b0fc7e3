"""Purse commands of the card: balance, load, purchase, complex purchase, proof (purse-protocol.md, 2 and 3)."""

import hmac
from collections.abc import Callable
from dataclasses import replace

from libs.purse import status
from libs.purse.apdu import Command
from libs.purse.card.files import Content, FileKind
from libs.purse.card.profiles import BALANCE_MAX_FEN, SFI_LOG
from libs.purse.card.session import Pending, Session
from libs.purse.card.state import Application, PurseState
from libs.purse.fields import amount_bytes
from libs.purse.transactions import (
    Tti,
    load_mac1_data,
    load_mac2_data,
    load_tac_data,
    offline_session_input,
    online_session_input,
    purchase_mac1_data,
    purchase_tac_data,
)

_PURSE_EP = 0x02
_INITIALISE_SIZE = 11
_COUNTER_MAX = 0xFFFF
_RANDOM_SIZE = 4

Random = Callable[[int], bytes]
# A complex purchase fills a buffer of the chip; four records are more than any terminal in service sends [convention].
_WRITES_MAX = 4


def get_balance(session: Session, application: Application, command: Command) -> bytes:
    """GET BALANCE of the EP; P1 03 is the form of T-Union terminals (section 3.6)."""
    if command.data:
        return status.WRONG_LENGTH
    if command.p1 not in (0x00, 0x03):
        return status.WRONG_PARAMETERS
    if command.p2 != _PURSE_EP:
        return status.NOT_SUPPORTED
    if command.le not in (None, 0, 4):
        return status.wrong_le(4)
    return amount_bytes(application.purse.balance_fen) + status.OK


def initialise(session: Session, application: Application, command: Command, draw: Random) -> bytes:
    """INITIALIZE FOR LOAD (P1 00), PURCHASE (01) and CAPP PURCHASE (03).

    Refusals, first match wins: 6A86, 6A81, 6700, 9403, 9402, and then of a load 6982 and 6A80 (the balance would pass
    its bound), of a purchase 9401.
    """
    if command.p1 not in (0x00, 0x01, 0x03):
        return status.WRONG_PARAMETERS
    if command.p2 != _PURSE_EP:
        return status.NOT_SUPPORTED
    if len(command.data) != _INITIALISE_SIZE:
        return status.WRONG_LENGTH
    if command.data[0] != application.keys.index:
        return status.KEY_INDEX_UNSUPPORTED
    if command.p1 == 0x00:
        return _initialise_load(session, application, command, draw)
    return _initialise_purchase(session, application, command, draw)


def _initialise_load(session: Session, application: Application, command: Command, draw: Random) -> bytes:
    keys, purse = application.keys, application.purse
    amount, terminal = command.data[1:5], command.data[5:]
    if command.le not in (None, 0, 16):
        return status.wrong_le(16)
    if purse.online_counter == _COUNTER_MAX:
        return status.COUNTER_AT_MAXIMUM
    if not session.pin_verified:
        return status.SECURITY_STATUS
    if purse.balance_fen + int.from_bytes(amount, "big") > BALANCE_MAX_FEN:
        return status.BAD_DATA
    random = draw(_RANDOM_SIZE)
    balance, counter = amount_bytes(purse.balance_fen), purse.online_counter.to_bytes(2, "big")
    cipher = keys.algorithm
    session_key = cipher.session_key(keys.load, online_session_input(random, counter))
    mac1 = cipher.mac(session_key, load_mac1_data(balance, amount, Tti.EP_LOAD, terminal))
    session.pending = Pending(Tti.EP_LOAD, amount, terminal, random, session_key)
    return balance + counter + bytes((keys.version, keys.algorithm_id)) + random + mac1 + status.OK


def _initialise_purchase(session: Session, application: Application, command: Command, draw: Random) -> bytes:
    keys, purse = application.keys, application.purse
    amount, terminal = command.data[1:5], command.data[5:]
    if command.le not in (None, 0, 15):
        return status.wrong_le(15)
    if purse.offline_counter == _COUNTER_MAX:
        return status.COUNTER_AT_MAXIMUM
    if int.from_bytes(amount, "big") > purse.balance_fen:
        return status.NOT_ENOUGH_MONEY
    tti = Tti.EP_PURCHASE if command.p1 == 0x01 else Tti.CAPP_PURCHASE
    random = draw(_RANDOM_SIZE)
    session.pending = Pending(tti, amount, terminal, random)
    return (
        amount_bytes(purse.balance_fen)
        + purse.offline_counter.to_bytes(2, "big")
        + purse.overdraft_limit_fen.to_bytes(3, "big")
        + bytes((keys.version, keys.algorithm_id))
        + random
        + status.OK
    )


def credit_for_load(session: Session, application: Application, command: Command, pending: Pending | None) -> bytes:
    """CREDIT FOR LOAD: check the host's MAC2, add the money, answer the TAC."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    if len(command.data) != 11:
        return status.WRONG_LENGTH
    if pending is None or pending.tti != Tti.EP_LOAD:
        return status.NOT_IN_THIS_STATE
    keys, purse = application.keys, application.purse
    cipher = keys.algorithm
    stamp, mac2 = command.data[:7], command.data[7:]
    expected = cipher.mac(pending.session_key, load_mac2_data(pending.amount, pending.tti, pending.terminal, stamp))
    if not hmac.compare_digest(expected, mac2):
        return status.PURSE_MAC_WRONG
    balance_fen = purse.balance_fen + int.from_bytes(pending.amount, "big")
    old_counter = purse.online_counter.to_bytes(2, "big")
    counter = (purse.online_counter + 1).to_bytes(2, "big")
    signed = load_tac_data(amount_bytes(balance_fen), old_counter, pending.amount, pending.tti, pending.terminal, stamp)
    tac = cipher.tac(keys.tac, signed)
    application.commit(
        replace(
            purse,
            balance_fen=balance_fen,
            online_counter=purse.online_counter + 1,
            log=_logged(application, counter, pending, stamp),
            proof_of=bytes((pending.tti,)) + counter,
            proof=mac2 + tac,
        )
    )
    session.pin_verified = False
    return tac + status.OK


def debit(session: Session, application: Application, command: Command, pending: Pending | None) -> bytes:
    """DEBIT FOR PURCHASE and CAPP PURCHASE: check MAC1, take the money, write what was cached, answer TAC and MAC2."""
    if command.p1 != 0x01 or command.p2:
        return status.WRONG_PARAMETERS
    data = command.data
    if len(data) != 15:
        return status.WRONG_LENGTH
    if pending is None or pending.tti == Tti.EP_LOAD:
        return status.NOT_IN_THIS_STATE
    keys, purse = application.keys, application.purse
    cipher = keys.algorithm
    sequence, stamp, mac1 = data[:4], data[4:11], data[11:]
    amount, tti, terminal = pending.amount, pending.tti, pending.terminal
    session_key = cipher.session_key(
        keys.purchase, offline_session_input(pending.random, purse.offline_counter.to_bytes(2, "big"), sequence)
    )
    expected = cipher.mac(session_key, purchase_mac1_data(amount, tti, terminal, stamp))
    if not hmac.compare_digest(expected, mac1):
        return status.PURSE_MAC_WRONG
    mac2 = cipher.mac(session_key, amount)
    tac = cipher.tac(keys.tac, purchase_tac_data(amount, tti, terminal, sequence, stamp))
    counter = (purse.offline_counter + 1).to_bytes(2, "big")
    application.commit(
        PurseState(
            balance_fen=purse.balance_fen - int.from_bytes(amount, "big"),
            online_counter=purse.online_counter,
            offline_counter=purse.offline_counter + 1,
            overdraft_limit_fen=purse.overdraft_limit_fen,
            log=_logged(application, counter, pending, stamp),
            proof_of=bytes((tti,)) + counter,
            proof=mac2 + tac,
        ),
        _written(application, pending) if pending.writes else None,
    )
    session.pin_verified = False
    return tac + mac2 + status.OK


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


def _logged(application: Application, counter: bytes, pending: Pending, stamp: bytes) -> bytes:
    """File 0018 with one more record; the counter in it is the value after the increment."""
    limit = application.purse.overdraft_limit_fen.to_bytes(3, "big")
    record = counter + limit + pending.amount + bytes((pending.tti,)) + pending.terminal + stamp
    return application.profile.files[SFI_LOG].append(application.purse.log, record)


def _written(application: Application, pending: Pending) -> dict[int, Content]:
    """New contents of the files that the cached records change."""
    files: dict[int, Content] = {}
    for spec, number, record in pending.writes:
        content = files.get(spec.sfi, application.content(spec))
        if isinstance(content, tuple):
            files[spec.sfi] = (*content[: number - 1], record, *content[number:])
        else:
            files[spec.sfi] = spec.append(content, record)
    return files
