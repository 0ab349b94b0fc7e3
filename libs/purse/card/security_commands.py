"""Security commands of the card: PINs, authentication, keys, blocking (purse-protocol.md, 2; purse-crypto.md, 4 and 5).

A count of tries is taken down before the try is judged and restored after it: power cut in between costs a try, and
guessing with a hand on the switch wins nothing.
"""

import hmac
from dataclasses import replace

from libs.purse import status
from libs.purse.apdu import Command
from libs.purse.card.messaging import bare_refusal, enciphered_data
from libs.purse.card.session import Session
from libs.purse.card.state import PIN_TRIES, UNBLOCK_TRIES, Application, Block, CardKeys, KeyName, KeyUse, OtherKey
from libs.purse.crypto import MAC_SIZE

_PIN_SIZE_MIN, _PIN_SIZE_MAX = 2, 6
_PIN_INDEX = 0x00
_KEY_SIZES = (8, 16)
_ENCRYPT, _DECRYPT, _MAC = 0x00, 0x01, 0x02
# version, algorithm, two counters (which this card does not keep), key (purse-crypto.md, section 5).
_KEY_HEAD = 4
_PURSE_USES = frozenset({KeyUse.PURCHASE, KeyUse.LOAD, KeyUse.TAC, KeyUse.MAINTENANCE})


def verify_pin(session: Session, application: Application, command: Command) -> bytes:
    """VERIFY: the PIN as it was issued; a locked PIN stays locked, whatever is sent."""
    if command.p1:
        return status.WRONG_PARAMETERS
    if command.p2 != _PIN_INDEX:
        return status.KEY_NOT_FOUND
    if not _PIN_SIZE_MIN <= len(command.data) <= _PIN_SIZE_MAX:
        return status.WRONG_LENGTH
    refusal = _pin_refusal(application, command.data)
    session.pin_verified = not refusal
    return refusal or status.OK


def change_or_reload_pin(session: Session, application: Application, command: Command) -> bytes:
    """CHANGE PIN (P1 01: old, FF, new) and RELOAD PIN (P1 00: new and its MAC under the reload key)."""
    if command.p1 > 1:
        return status.WRONG_PARAMETERS
    if command.p2 != _PIN_INDEX:
        return status.KEY_NOT_FOUND
    return _change_pin(application, command) if command.p1 else _reload_pin(application, command)


def _change_pin(application: Application, command: Command) -> bytes:
    old, separator, new = command.data.partition(b"\xff")
    if not 2 * _PIN_SIZE_MIN + 1 <= len(command.data) <= 2 * _PIN_SIZE_MAX + 1:
        return status.WRONG_LENGTH
    if not separator or not all(_PIN_SIZE_MIN <= len(pin) <= _PIN_SIZE_MAX for pin in (old, new)) or b"\xff" in new:
        return status.BAD_DATA
    refusal = _pin_refusal(application, old)
    if refusal:
        return refusal
    application.commit(guard=replace(application.guard, pin=new))
    return status.OK


def _reload_pin(application: Application, command: Command) -> bytes:
    if not _PIN_SIZE_MIN + MAC_SIZE <= len(command.data) <= _PIN_SIZE_MAX + MAC_SIZE:
        return status.WRONG_LENGTH
    name = (KeyUse.PIN_RELOAD, _PIN_INDEX)
    key, refusal = _usable(application, name)
    if key is None:
        return refusal
    pin, mac = command.data[:-MAC_SIZE], command.data[-MAC_SIZE:]
    if not _judge(application, name, hmac.compare_digest(application.keys.algorithm.reload_mac(key.key, pin), mac)):
        return status.MAC_WRONG
    application.commit(guard=replace(application.guard, pin=pin, pin_tries=PIN_TRIES))
    return status.OK


def unblock_pin(session: Session, application: Application, command: Command) -> bytes:
    """PIN UNBLOCK: the PIN, enciphered and with MAC under the unblock key, restores the tries of a locked PIN."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    name = (KeyUse.PIN_UNBLOCK, _PIN_INDEX)
    key, refusal = _usable(application, name)
    if key is None:
        return refusal
    if len(command.data) != application.keys.algorithm.block_size + MAC_SIZE:
        return status.WRONG_LENGTH
    if application.guard.pin_tries:
        return status.CONDITIONS
    if not session.challenge:
        return status.NO_CHALLENGE
    refusal, pin = enciphered_data(session, application, command, key.key)
    # A PIN that is not the reference counts as a wrong use of the key, as a wrong MAC does [convention].
    right = not refusal and hmac.compare_digest(pin, application.guard.pin)
    if not _judge(application, name, right):
        return refusal or status.BAD_DATA
    application.commit(guard=replace(application.guard, pin_tries=PIN_TRIES))
    return status.OK


def external_authenticate(session: Session, application: Application, command: Command) -> bytes:
    """EXTERNAL AUTHENTICATE: the terminal enciphers the challenge; the security state becomes that of the key."""
    if command.p1:
        return status.WRONG_PARAMETERS
    cipher = application.keys.algorithm
    if len(command.data) != cipher.block_size:
        return status.WRONG_LENGTH
    name = (KeyUse.EXTERNAL, command.p2)
    key, refusal = _usable(application, name)
    if key is None:
        return refusal
    challenge, session.challenge = session.challenge, b""
    if not challenge:
        return status.NO_CHALLENGE
    expected = cipher.encrypt(key.key, challenge.ljust(cipher.block_size, b"\x00"))
    if not _judge(application, name, hmac.compare_digest(expected, command.data)):
        return status.tries_left(min(application.tries_of(name), 15))
    session.state = key.follow_state
    return status.OK


def internal_authenticate(session: Session, application: Application, command: Command) -> bytes:
    """INTERNAL AUTHENTICATE: P1 00 enciphers, 01 deciphers whole blocks, 02 makes a MAC of any data, 4 bytes."""
    if command.p1 > _MAC:
        return status.WRONG_PARAMETERS
    cipher = application.keys.algorithm
    if not command.data or (command.p1 != _MAC and len(command.data) % cipher.block_size):
        return status.WRONG_LENGTH
    key, refusal = _usable(application, (KeyUse.INTERNAL, command.p2))
    if key is None:
        return refusal
    if command.p1 == _ENCRYPT:
        return cipher.encrypt(key.key, command.data) + status.OK
    if command.p1 == _DECRYPT:
        return cipher.decrypt(key.key, command.data) + status.OK
    return cipher.command_mac(key.key, b"", command.data) + status.OK


def write_key(session: Session, application: Application, command: Command) -> bytes:
    """WRITE KEY, the form that replaces a key: P1 its type, P2 its index, data enciphered and with MAC (section 5).

    The five keys of the purse share one version, which becomes that of the key written last [convention].
    """
    try:
        use = KeyUse(command.p1)
    except ValueError:
        return status.WRONG_PARAMETERS
    keys, name = application.keys, (use, command.p2)
    if name not in keys.others and (use not in _PURSE_USES or command.p2 != keys.index):
        return status.KEY_NOT_FOUND
    refusal, data = enciphered_data(session, application, command)
    if refusal:
        return refusal
    version, key = data[0] if data else 0, data[_KEY_HEAD:]
    if len(key) not in _KEY_SIZES or data[1] != keys.algorithm_id:
        return status.BAD_DATA
    if name in keys.others:
        application.commit(keys=_with_other(keys, name, replace(keys.others[name], key=key)))
    elif len(key) != 16:
        return status.BAD_DATA
    else:
        application.commit(keys=_with_field(keys, use, key, version))
    return status.OK


def block_application(session: Session, application: Application, command: Command) -> bytes:
    """APPLICATION BLOCK: reversible (P2 00) or for ever (P2 01)."""
    if command.p1 or command.p2 > 1:
        return status.WRONG_PARAMETERS
    refusal = bare_refusal(session, application, command, application.keys.block)
    if refusal:
        return refusal
    if command.p2:
        application.commit(guard=replace(application.guard, block=Block.FOR_EVER))
    elif application.block is Block.NONE:
        application.commit(guard=replace(application.guard, block=Block.REVERSIBLE))
    return status.OK


def unblock_application(session: Session, application: Application, command: Command) -> bytes:
    """APPLICATION UNBLOCK; three wrong MACs lose the application for ever."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    if application.block is Block.NONE:
        return status.CONDITIONS
    if len(command.data) != MAC_SIZE or not session.challenge:
        return bare_refusal(session, application, command)
    guard, tries = application.guard, application.guard.unblock_tries - 1
    application.commit(guard=replace(guard, unblock_tries=tries, block=guard.block if tries else Block.FOR_EVER))
    if bare_refusal(session, application, command):
        return status.MAC_WRONG if tries else status.BLOCKED_FOR_EVER
    application.commit(guard=replace(guard, unblock_tries=UNBLOCK_TRIES, block=Block.NONE))
    return status.OK


def card_block_refusal(session: Session, application: Application, command: Command) -> bytes:
    """Why CARD BLOCK is not accepted; empty when it is."""
    if command.p1 or command.p2:
        return status.WRONG_PARAMETERS
    return bare_refusal(session, application, command)


def _pin_refusal(application: Application, pin: bytes) -> bytes:
    """Why a PIN is not accepted; empty when it is."""
    guard = application.guard
    if not guard.pin_tries:
        return status.KEY_LOCKED
    application.commit(guard=replace(guard, pin_tries=guard.pin_tries - 1))
    if not hmac.compare_digest(guard.pin, pin):
        return status.tries_left(guard.pin_tries - 1)
    # A guard with all its tries is shared by many cards: put that one back, not a copy of it.
    application.commit(guard=guard if guard.pin_tries == PIN_TRIES else replace(guard, pin_tries=PIN_TRIES))
    return b""


def _usable(application: Application, name: KeyName) -> tuple[OtherKey | None, bytes]:
    """The key, or why it cannot be used."""
    key = application.keys.others.get(name)
    if key is None:
        return None, status.KEY_NOT_FOUND
    return (key, b"") if application.tries_of(name) else (None, status.KEY_LOCKED)


def _judge(application: Application, name: KeyName, right: bool) -> bool:
    """Count a use of a key; the outcome is computed already, but not told before the count is written."""
    guard = application.guard
    left = application.tries_of(name)
    application.commit(guard=replace(guard, key_tries={**guard.key_tries, name: left - 1}))
    if right:
        kept = {other: tries for other, tries in guard.key_tries.items() if other != name}
        application.commit(guard=replace(guard, key_tries=kept))
    return right


def _with_other(keys: CardKeys, name: KeyName, key: OtherKey) -> CardKeys:
    return replace(keys, others={**keys.others, name: key})


def _with_field(keys: CardKeys, use: KeyUse, key: bytes, version: int) -> CardKeys:
    if use is KeyUse.PURCHASE:
        return replace(keys, purchase=key, version=version)
    if use is KeyUse.LOAD:
        return replace(keys, load=key, version=version)
    if use is KeyUse.TAC:
        return replace(keys, tac=key, version=version)
    return replace(keys, maintenance=key, version=version)
