"""Second halves of purse transactions: CREDIT, DEBIT, UPDATE OVERDRAW LIMIT (purse-protocol.md, 2; purse-crypto.md, 3).

Each checks the other side's MAC and then commits balance, counter, log, proof and cached records at once.
"""

import hmac
from dataclasses import replace

from libs.purse import status
from libs.purse.apdu import Command
from libs.purse.card.files import Content
from libs.purse.card.profiles import BALANCE_MAX_FEN, SFI_LOG
from libs.purse.card.session import Pending, Session
from libs.purse.card.state import Application, PurseState
from libs.purse.fields import amount_bytes, limit_bytes
from libs.purse.transactions import (
    DEPOSIT_TTIS,
    PurseId,
    Tti,
    load_mac2_data,
    load_tac_data,
    offline_session_input,
    overdraft_mac2_data,
    overdraft_tac_data,
    purchase_mac1_data,
    purchase_tac_data,
)

_LOADS = frozenset({Tti.EP_LOAD, Tti.ED_LOAD})
_DEBITS = frozenset({Tti.EP_PURCHASE, Tti.ED_PURCHASE, Tti.CAPP_PURCHASE, Tti.ED_CASH_WITHDRAWAL})
_ONLINE_SIZE = 11
_DEBIT_SIZE = 15
_OVERDRAFT_SIZE = 14


def credit_for_load(session: Session, application: Application, command: Command, pending: Pending | None) -> bytes:
    """CREDIT FOR LOAD: check the host's MAC2, add the money, answer the TAC."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    if len(command.data) != _ONLINE_SIZE:
        return status.WRONG_LENGTH
    if pending is None or pending.tti not in _LOADS:
        return status.NOT_IN_THIS_STATE
    if command.le not in (None, 0, 4):
        return _again(session, pending, 4)
    stamp, mac2 = command.data[:7], command.data[7:]
    if not _host_agrees(application, pending, stamp, mac2):
        return status.PURSE_MAC_WRONG
    purse = _purse_of(application, pending)
    balance_fen = purse.balance_fen + int.from_bytes(pending.amount, "big")
    tac = application.keys.algorithm.tac(application.keys.tac, _online_data(purse, balance_fen, pending, stamp))
    _commit_online(application, purse, balance_fen, pending, stamp, mac2 + tac)
    session.pin_verified = False
    return tac + status.OK


def debit(session: Session, application: Application, command: Command, pending: Pending | None) -> bytes:
    """DEBIT FOR PURCHASE, CAPP PURCHASE and CASH WITHDRAW (P1 01), and FOR UNLOAD (03)."""
    if command.p2 or command.p1 not in (0x01, 0x03):
        return status.WRONG_PARAMETERS
    if command.p1 == 0x03:
        return _unload(session, application, command, pending)
    data = command.data
    if len(data) != _DEBIT_SIZE:
        return status.WRONG_LENGTH
    if pending is None or pending.tti not in _DEBITS:
        return status.NOT_IN_THIS_STATE
    if command.le not in (None, 0, 8):
        return _again(session, pending, 8)
    keys, purse = application.keys, _purse_of(application, pending)
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
    balance_fen = purse.balance_fen - int.from_bytes(amount, "big")
    counter = (purse.offline_counter + 1).to_bytes(2, "big")
    log, proof_of = _logged(application, purse, counter, pending, stamp), bytes((tti,)) + counter
    if tti in DEPOSIT_TTIS:
        application.commit(
            replace(application.purse, log=log, proof_of=proof_of, proof=mac2 + tac),
            deposit=replace(purse, balance_fen=balance_fen, offline_counter=purse.offline_counter + 1),
        )
    else:
        application.commit(
            PurseState(
                balance_fen=balance_fen,
                online_counter=purse.online_counter,
                offline_counter=purse.offline_counter + 1,
                overdraft_limit_fen=purse.overdraft_limit_fen,
                log=log,
                proof_of=proof_of,
                proof=mac2 + tac,
            ),
            _written(application, pending) if pending.writes else None,
        )
    session.pin_verified = False
    return tac + mac2 + status.OK


def _unload(session: Session, application: Application, command: Command, pending: Pending | None) -> bytes:
    """DEBIT FOR UNLOAD: check the host's MAC2, take the money, answer MAC3, made with the session key."""
    if len(command.data) != _ONLINE_SIZE:
        return status.WRONG_LENGTH
    if pending is None or pending.tti != Tti.ED_UNLOAD:
        return status.NOT_IN_THIS_STATE
    if command.le not in (None, 0, 4):
        return _again(session, pending, 4)
    stamp, mac2 = command.data[:7], command.data[7:]
    if not _host_agrees(application, pending, stamp, mac2):
        return status.PURSE_MAC_WRONG
    purse = _purse_of(application, pending)
    balance_fen = purse.balance_fen - int.from_bytes(pending.amount, "big")
    mac3 = application.keys.algorithm.mac(pending.session_key, _online_data(purse, balance_fen, pending, stamp))
    _commit_online(application, purse, balance_fen, pending, stamp, mac2 + mac3)
    session.pin_verified = False
    return mac3 + status.OK


def update_overdraw_limit(
    session: Session, application: Application, command: Command, pending: Pending | None
) -> bytes:
    """UPDATE OVERDRAW LIMIT of the ED: the balance, which includes the limit, moves by the difference [convention]."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    if len(command.data) != _OVERDRAFT_SIZE:
        return status.WRONG_LENGTH
    if pending is None or pending.tti != Tti.OVERDRAFT_CHANGE:
        return status.NOT_IN_THIS_STATE
    if command.le not in (None, 0, 4):
        return _again(session, pending, 4)
    cipher, purse = application.keys.algorithm, _purse_of(application, pending)
    limit, stamp, mac2 = command.data[:3], command.data[3:10], command.data[10:]
    expected = cipher.mac(pending.session_key, overdraft_mac2_data(limit, pending.terminal, stamp))
    if not hmac.compare_digest(expected, mac2):
        return status.PURSE_MAC_WRONG
    limit_fen = int.from_bytes(limit, "big")
    balance_fen = purse.balance_fen + limit_fen - purse.overdraft_limit_fen
    if balance_fen < 0:
        # The holder owes more than the new limit allows.
        return status.NOT_ENOUGH_MONEY
    if balance_fen > BALANCE_MAX_FEN:
        return status.BAD_DATA
    signed = overdraft_tac_data(
        amount_bytes(balance_fen), purse.online_counter.to_bytes(2, "big"), limit, pending.terminal, stamp
    )
    tac = cipher.tac(application.keys.tac, signed)
    pending.amount = bytes(1) + limit
    changed = replace(purse, overdraft_limit_fen=limit_fen)
    _commit_online(application, changed, balance_fen, pending, stamp, mac2 + tac)
    session.pin_verified = False
    return tac + status.OK


def _again(session: Session, pending: Pending, right: int) -> bytes:
    """6Cxx: the terminal sends the same command again with the right Le, so the transaction stays open."""
    session.pending = pending
    return status.wrong_le(right)


def _purse_of(application: Application, pending: Pending) -> PurseState:
    return application.purse_of(PurseId.ED if pending.tti in DEPOSIT_TTIS else PurseId.EP)


def _host_agrees(application: Application, pending: Pending, stamp: bytes, mac2: bytes) -> bool:
    signed = load_mac2_data(pending.amount, pending.tti, pending.terminal, stamp)
    return hmac.compare_digest(application.keys.algorithm.mac(pending.session_key, signed), mac2)


def _online_data(purse: PurseState, balance_fen: int, pending: Pending, stamp: bytes) -> bytes:
    """What the TAC of a load and MAC3 of an unload sign."""
    counter = purse.online_counter.to_bytes(2, "big")
    return load_tac_data(amount_bytes(balance_fen), counter, pending.amount, pending.tti, pending.terminal, stamp)


def _commit_online(
    application: Application, purse: PurseState, balance_fen: int, pending: Pending, stamp: bytes, proof: bytes
) -> None:
    """Balance, online counter, log and proof of a load, an unload or a change of the limit."""
    counter = (purse.online_counter + 1).to_bytes(2, "big")
    moved = replace(purse, balance_fen=balance_fen, online_counter=purse.online_counter + 1)
    log, proof_of = _logged(application, purse, counter, pending, stamp), bytes((pending.tti,)) + counter
    if pending.tti in DEPOSIT_TTIS:
        application.commit(replace(application.purse, log=log, proof_of=proof_of, proof=proof), deposit=moved)
    else:
        application.commit(replace(moved, log=log, proof_of=proof_of, proof=proof))


def _logged(application: Application, purse: PurseState, counter: bytes, pending: Pending, stamp: bytes) -> bytes:
    """File 0018 with one more record; the counter in it is the value after the increment."""
    spec = application.profile.files.get(SFI_LOG)
    if spec is None:
        return application.purse.log
    limit = limit_bytes(purse.overdraft_limit_fen)
    record = counter + limit + pending.amount + bytes((pending.tti,)) + pending.terminal + stamp
    return spec.append(application.purse.log, record)


def _written(application: Application, pending: Pending) -> dict[int, Content]:
    """New contents of the files that the cached records change."""
    files: dict[int, Content] = {}
    for spec, number, record in pending.writes:
        content = files.get(spec.sfi, application.content(spec))
        if number:
            files[spec.sfi] = spec.replaced(content, number, record)
        else:
            files[spec.sfi] = spec.append(content, record)
    return files
