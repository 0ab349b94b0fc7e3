"""The host's side of the purse: MAC1, MAC2, TAC, card commands (purse-protocol.md, 3.1; purse-crypto.md, section 3).

Everything is asked of a `KeyStore` by handle. Verifying raises, it never returns a bool.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime

from libs.errors import InvalidInput, Refusal
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import KeyStore
from libs.purse.fields import amount_bytes, stamp_bytes
from libs.purse.scheme import CardIdentity
from libs.purse.transactions import (
    Tti,
    load_mac1_data,
    load_mac2_data,
    load_tac_data,
    online_session_input,
    purchase_tac_data,
)

ANSWER_A_SIZE = 16


class Mac1Wrong(Refusal):
    """The MAC1 of answer A was not made by this card over this amount and terminal."""

    reason = "MAC1_WRONG"


class TacWrong(Refusal):
    """The TAC does not prove the transaction."""

    reason = "TAC_WRONG"


class AnswerMalformed(InvalidInput):
    """A card's answer has the wrong length."""

    reason = "ANSWER_MALFORMED"


@dataclass(frozen=True, slots=True)
class AnswerA:
    """What a card answers to INITIALIZE FOR LOAD (purse-protocol.md, section 2).

    Attributes:
        old_balance_fen: Balance on the card, in fen; of a JT card the overdraft limit is included.
        online_counter: Before the transaction.
        key_version: Of the load key, and of the TAC key with it.
        algorithm_id: Algorithm byte.
        random: 4 bytes.
        mac1: 4 bytes.
    """

    old_balance_fen: int
    online_counter: int
    key_version: int
    algorithm_id: int
    random: bytes
    mac1: bytes

    @classmethod
    def parse(cls, answer: bytes) -> "AnswerA":
        """From the 16 bytes, without status word.

        Raises:
            AnswerMalformed: Another length.
        """
        if len(answer) != ANSWER_A_SIZE:
            raise AnswerMalformed(expected=ANSWER_A_SIZE, found=len(answer))
        return cls(
            old_balance_fen=int.from_bytes(answer[:4], "big"),
            online_counter=int.from_bytes(answer[4:6], "big"),
            key_version=answer[6],
            algorithm_id=answer[7],
            random=answer[8:12],
            mac1=answer[12:16],
        )


@dataclass(frozen=True, slots=True)
class LoadTerms:
    """What both sides sign in a load besides the card's answer.

    Attributes:
        amount_fen: Money to load, in fen.
        terminal: Terminal number sent in INITIALIZE FOR LOAD, 6 bytes BCD.
        tti: Load of the EP (02) or ED (01); 03 for an unload (`libs.purse.host_deposit`).
    """

    amount_fen: int
    terminal: bytes
    tti: Tti = Tti.EP_LOAD

    def __post_init__(self) -> None:
        assert len(self.terminal) == 6, "a terminal number has 6 bytes"


def load_key(store: KeyStore, card: CardIdentity, answer: AnswerA, tti: Tti = Tti.EP_LOAD) -> KeyHandle:
    """The load key that the card used, or of an unload (TTI 03) the unload key.

    Raises:
        KeyUnknown: Version or algorithm is not one of the issuer's.
    """
    kind = KeyKind.UNLOAD if tti is Tti.ED_UNLOAD else KeyKind.LOAD
    return store.find(card.scheme, card.issuer, kind, answer.key_version, answer.algorithm_id)


def check_load_mac1(store: KeyStore, card: CardIdentity, answer: AnswerA, terms: LoadTerms) -> None:
    """Check that this card made answer A for this amount and terminal.

    Raises:
        KeyUnknown: Version or algorithm is not one of the issuer's.
        Mac1Wrong: Another card, another amount, or a changed answer.
    """
    data = load_mac1_data(
        amount_bytes(answer.old_balance_fen), amount_bytes(terms.amount_fen), terms.tti, terms.terminal
    )
    expected = store.session_mac(load_key(store, card, answer, terms.tti), card, _load_session_input(answer), data)
    if not hmac.compare_digest(expected, answer.mac1):
        raise Mac1Wrong(card=card.text)


def make_load_mac2(store: KeyStore, card: CardIdentity, answer: AnswerA, terms: LoadTerms, at: datetime) -> bytes:
    """MAC2 (4 bytes) that lets the card take the load; `check_load_mac1` comes first, always.

    Args:
        store: Holds the issuer's load key.
        card: Whose card.
        answer: Answer A.
        terms: Amount and terminal.
        at: The host's date and time, aware; the card stores and signs it in city time.
    """
    data = load_mac2_data(amount_bytes(terms.amount_fen), terms.tti, terms.terminal, stamp_bytes(at))
    return store.session_mac(load_key(store, card, answer, terms.tti), card, _load_session_input(answer), data)


def check_load_tac(
    store: KeyStore, card: CardIdentity, answer: AnswerA, terms: LoadTerms, at: datetime, tac: bytes
) -> None:
    """Check the TAC by which the card proves that the load was written.

    Raises:
        KeyUnknown: Version or algorithm is not one of the issuer's.
        TacWrong: The TAC does not prove this load.
    """
    handle = store.find(card.scheme, card.issuer, KeyKind.TAC, answer.key_version, answer.algorithm_id)
    data = load_tac_data(
        amount_bytes(answer.old_balance_fen + terms.amount_fen),
        answer.online_counter.to_bytes(2, "big"),
        amount_bytes(terms.amount_fen),
        terms.tti,
        terms.terminal,
        stamp_bytes(at),
    )
    if not hmac.compare_digest(store.tac(handle, card, data), tac):
        raise TacWrong(card=card.text)


def check_purchase_tac(
    store: KeyStore,
    card: CardIdentity,
    *,
    key_version: int,
    algorithm_id: int,
    amount_fen: int,
    tti: int,
    terminal: bytes,
    sequence: int,
    stamp: bytes,
    tac: bytes,
) -> None:
    """Check the TAC of one purchase record; for many records use `libs.purse.bulk`.

    Args:
        store: Holds the issuer's TAC key.
        card: The *claimed* card: the number is bound by the key only (purse-crypto.md, section 3).
        key_version: From the record.
        algorithm_id: From the record.
        amount_fen: What the card paid, in fen.
        tti: 06 or 09.
        terminal: 6 bytes BCD.
        sequence: Terminal seq.
        stamp: Date and time of the record, 7 bytes BCD.
        tac: 4 bytes.

    Raises:
        KeyUnknown: Version or algorithm is not one of the issuer's.
        TacWrong: The TAC does not prove this purchase.
    """
    handle = store.find(card.scheme, card.issuer, KeyKind.TAC, key_version, algorithm_id)
    data = purchase_tac_data(amount_bytes(amount_fen), tti, terminal, sequence.to_bytes(4, "big"), stamp)
    if not hmac.compare_digest(store.tac(handle, card, data), tac):
        raise TacWrong(card=card.text)


def block_command(
    store: KeyStore, handle: KeyHandle, card: CardIdentity, challenge: bytes, *, for_ever: bool = False
) -> bytes:
    """APPLICATION BLOCK with MAC4, ready to send; `handle` is of kind maintenance, or lock where the city has one."""
    return _bare_command(store, handle, card, challenge, bytes((0x84, 0x1E, 0x00, int(for_ever))))


def unblock_command(store: KeyStore, handle: KeyHandle, card: CardIdentity, challenge: bytes) -> bytes:
    """APPLICATION UNBLOCK with MAC4, ready to send."""
    return _bare_command(store, handle, card, challenge, b"\x84\x18\x00\x00")


def _bare_command(store: KeyStore, handle: KeyHandle, card: CardIdentity, challenge: bytes, header: bytes) -> bytes:
    message = header + b"\x04"
    return message + store.command_mac(handle, card, challenge, message)


def _load_session_input(answer: AnswerA) -> bytes:
    return online_session_input(answer.random, answer.online_counter.to_bytes(2, "big"))
