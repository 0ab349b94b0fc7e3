"""The host's side of what only the electronic deposit (ED) knows: unload and overdraft limit (purse-crypto.md, 3).

Loads of the ED are those of `libs.purse.host` with `LoadTerms(..., tti=Tti.ED_LOAD)`.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime

from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import KeyStore
from libs.purse.fields import amount_bytes, limit_bytes, stamp_bytes
from libs.purse.host import AnswerA, AnswerMalformed, LoadTerms, Mac1Wrong, TacWrong, check_load_mac1, make_load_mac2
from libs.purse.scheme import CardIdentity
from libs.purse.transactions import (
    Tti,
    load_tac_data,
    online_session_input,
    overdraft_mac1_data,
    overdraft_mac2_data,
    overdraft_tac_data,
)

_OVERDRAFT_ANSWER_SIZE = 19


class Mac3Wrong(TacWrong):
    """MAC3 does not prove that the card took the money out."""

    reason = "MAC3_WRONG"


def unload_terms(amount_fen: int, terminal: bytes) -> LoadTerms:
    """What both sides sign in an unload (圈提)."""
    return LoadTerms(amount_fen, terminal, Tti.ED_UNLOAD)


def authorise_unload(store: KeyStore, card: CardIdentity, answer: AnswerA, terms: LoadTerms, at: datetime) -> bytes:
    """MAC2 (4 bytes) that lets the card give the money back, after its MAC1 was checked.

    Raises:
        KeyUnknown: Version or algorithm is not one of the issuer's.
        Mac1Wrong: Another card, another amount, or a changed answer.
    """
    assert terms.tti is Tti.ED_UNLOAD, "terms of an unload"
    check_load_mac1(store, card, answer, terms)
    return make_load_mac2(store, card, answer, terms, at)


def check_unload_mac3(
    store: KeyStore, card: CardIdentity, answer: AnswerA, terms: LoadTerms, at: datetime, mac3: bytes
) -> None:
    """Check MAC3, by which the card proves that it took the money out.

    Raises:
        KeyUnknown: Version or algorithm is not one of the issuer's.
        Mac3Wrong: MAC3 does not prove this unload.
    """
    handle = store.find(card.scheme, card.issuer, KeyKind.UNLOAD, answer.key_version, answer.algorithm_id)
    counter = answer.online_counter.to_bytes(2, "big")
    data = load_tac_data(
        amount_bytes(answer.old_balance_fen - terms.amount_fen),
        counter,
        amount_bytes(terms.amount_fen),
        terms.tti,
        terms.terminal,
        stamp_bytes(at),
    )
    expected = store.session_mac(handle, card, online_session_input(answer.random, counter), data)
    if not hmac.compare_digest(expected, mac3):
        raise Mac3Wrong(card=card.text)


@dataclass(frozen=True, slots=True)
class OverdraftAnswer:
    """What a card answers to INITIALIZE FOR UPDATE (purse-protocol.md, section 2).

    Attributes:
        balance_fen: Of the ED, the limit included.
        online_counter: Before the change.
        limit_fen: The old overdraft limit.
        key_version: Of the key.
        algorithm_id: Algorithm byte.
        random: 4 bytes.
        mac1: 4 bytes.
    """

    balance_fen: int
    online_counter: int
    limit_fen: int
    key_version: int
    algorithm_id: int
    random: bytes
    mac1: bytes

    @classmethod
    def parse(cls, answer: bytes) -> "OverdraftAnswer":
        """From the 19 bytes, without status word.

        Raises:
            AnswerMalformed: Another length.
        """
        if len(answer) != _OVERDRAFT_ANSWER_SIZE:
            raise AnswerMalformed(expected=_OVERDRAFT_ANSWER_SIZE, found=len(answer))
        return cls(
            balance_fen=int.from_bytes(answer[:4], "big"),
            online_counter=int.from_bytes(answer[4:6], "big"),
            limit_fen=int.from_bytes(answer[6:9], "big"),
            key_version=answer[9],
            algorithm_id=answer[10],
            random=answer[11:15],
            mac1=answer[15:19],
        )

    @property
    def counter(self) -> bytes:
        """The online counter, 2 bytes."""
        return self.online_counter.to_bytes(2, "big")


def authorise_overdraft(
    store: KeyStore, card: CardIdentity, answer: OverdraftAnswer, terminal: bytes, new_limit_fen: int, at: datetime
) -> bytes:
    """MAC2 (4 bytes) that lets the card take a new limit, after its MAC1 was checked.

    Raises:
        KeyUnknown: Version or algorithm is not one of the issuer's.
        Mac1Wrong: Another card, or a changed answer.
    """
    handle = _overdraft_key(store, card, answer)
    session_input = online_session_input(answer.random, answer.counter)
    said = overdraft_mac1_data(amount_bytes(answer.balance_fen), limit_bytes(answer.limit_fen), terminal)
    if not hmac.compare_digest(store.session_mac(handle, card, session_input, said), answer.mac1):
        raise Mac1Wrong(card=card.text)
    data = overdraft_mac2_data(limit_bytes(new_limit_fen), terminal, stamp_bytes(at))
    return store.session_mac(handle, card, session_input, data)


def check_overdraft_tac(
    store: KeyStore,
    card: CardIdentity,
    answer: OverdraftAnswer,
    terminal: bytes,
    new_limit_fen: int,
    at: datetime,
    tac: bytes,
) -> None:
    """Check the TAC by which the card proves that it took the new limit.

    Raises:
        KeyUnknown: Version or algorithm is not one of the issuer's.
        TacWrong: The TAC does not prove this change.
    """
    handle = store.find(card.scheme, card.issuer, KeyKind.TAC, answer.key_version, answer.algorithm_id)
    balance_fen = answer.balance_fen + new_limit_fen - answer.limit_fen
    data = overdraft_tac_data(
        amount_bytes(balance_fen), answer.counter, limit_bytes(new_limit_fen), terminal, stamp_bytes(at)
    )
    if not hmac.compare_digest(store.tac(handle, card, data), tac):
        raise TacWrong(card=card.text)


def _overdraft_key(store: KeyStore, card: CardIdentity, answer: OverdraftAnswer) -> KeyHandle:
    return store.find(card.scheme, card.issuer, KeyKind.OVERDRAFT, answer.key_version, answer.algorithm_id)
