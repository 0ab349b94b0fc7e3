"""The issuer's keys: handles and MACs by way of `libs.purse.host`, no key bytes."""

from datetime import datetime

from libs.keystore import errors as keystore
from libs.keystore.port import KeyStore
from libs.purse import host
from libs.purse.host import AnswerA, LoadTerms
from libs.purse.scheme import CardIdentity
from services.card.domain.card import Card
from services.card.domain.errors import KeyUnknown, Mac1Wrong, TacWrong
from services.card.domain.load import Load, LoadOrder


def _identity(card: Card) -> CardIdentity:
    return CardIdentity.from_text(card.number, bytes.fromhex(card.issuer_id))


def _spoken(order: LoadOrder) -> tuple[AnswerA, LoadTerms]:
    return AnswerA.parse(order.answer_a), LoadTerms(order.amount_fen, bytes.fromhex(order.terminal_number))


def _key_unknown(order: LoadOrder) -> KeyUnknown:
    answer = AnswerA.parse(order.answer_a)
    return KeyUnknown(key_version=answer.key_version, algorithm_id=f"{answer.algorithm_id:02X}")


class StoredKeys:
    """`Keys` over a key store. Version and algorithm are the card's own words in answer A.

    A soft store answers in microseconds, so it is called as it is; a device that blocks belongs into a thread here.
    """

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def check_mac1(self, card: Card, order: LoadOrder) -> None:
        """Check that this card made this answer A."""
        answer, terms = _spoken(order)
        try:
            host.check_load_mac1(self._store, _identity(card), answer, terms)
        except keystore.KeyUnknown:
            raise _key_unknown(order) from None
        except host.Mac1Wrong:
            raise Mac1Wrong(card=card.number) from None

    async def make_mac2(self, card: Card, order: LoadOrder, at: datetime) -> bytes:
        """MAC2, 4 bytes, for a host time."""
        answer, terms = _spoken(order)
        try:
            return host.make_load_mac2(self._store, _identity(card), answer, terms, at)
        except keystore.KeyUnknown:
            raise _key_unknown(order) from None

    async def check_tac(self, card: Card, load: Load, tac: bytes) -> None:
        """Check that the card proves the load."""
        assert load.host_time is not None, "only a load with a MAC2 has a TAC to check"
        answer, terms = _spoken(load.order)
        try:
            host.check_load_tac(self._store, _identity(card), answer, terms, load.host_time, tac)
        except keystore.KeyUnknown:
            raise _key_unknown(load.order) from None
        except host.TacWrong:
            raise TacWrong(load=load.id) from None
