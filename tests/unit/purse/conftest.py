"""Cards, modules and keys of one imaginary city; a test states only what matters to it."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from libs.keystore import SoftKeyStore, demo_keystore
from libs.purse import host, outlet
from libs.purse.card import CJ, JT, PROFILES, VirtualCard, card_keys, personalise
from libs.purse.sam import VirtualSam, issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence

ISSUER = bytes.fromhex("01019901FFFFFFFF")
TERMINAL = bytes.fromhex("990100000001")
AT = datetime(2025, 1, 2, 0, 9, 10, tzinfo=UTC)
NUMBERS = {
    Scheme.CJ: bytes.fromhex("00009901000000012345"),
    Scheme.JT: bytes.fromhex("03109901000000012340"),
}


class City:
    """Makes cards and modules that fit together."""

    def __init__(self) -> None:
        self.store: SoftKeyStore = demo_keystore("unit tests", [(scheme, ISSUER) for scheme in Scheme], versions=(1, 2))
        self.issuer, self.terminal, self.at = ISSUER, TERMINAL, AT
        self.card_profiles = (CJ, JT)

    def identity(self, scheme: Scheme = Scheme.CJ) -> CardIdentity:
        return CardIdentity(scheme, ISSUER, NUMBERS[scheme])

    def card(
        self,
        scheme: Scheme = Scheme.CJ,
        *,
        algorithm_id: int = 0,
        version: int = 1,
        balance_fen: int = 0,
        overdraft_limit_fen: int = 0,
        random: Callable[[int], bytes] | None = None,
    ) -> VirtualCard:
        counter = itertools.count(1)
        keys = card_keys(self.store, self.identity(scheme), version=version, algorithm_id=algorithm_id)
        card = personalise(
            PROFILES[scheme],
            NUMBERS[scheme],
            keys,
            issuer=ISSUER,
            overdraft_limit_fen=overdraft_limit_fen,
            random=random or (lambda size: next(counter).to_bytes(size, "big")),
        )
        if balance_fen:
            card.transmit(bytes.fromhex("00A40400") + bytes((len(PROFILES[scheme].aid),)) + PROFILES[scheme].aid)
            self.load(card, balance_fen, scheme)
            card.reset()
        return card

    def sam(self, scheme: Scheme = Scheme.CJ, first: int = 1) -> VirtualSam:
        return issue_sam(self.store, scheme, ISSUER, TERMINAL, MemorySequence(first))

    def load(self, card: VirtualCard, amount_fen: int, scheme: Scheme = Scheme.CJ) -> bytes:
        """The whole dialogue of a load, the application being selected; returns the TAC."""
        identity, terms = self.identity(scheme), host.LoadTerms(amount_fen, TERMINAL)
        answer = host.AnswerA.parse(outlet.initialise_load(card.transmit, amount_fen, terminal=TERMINAL))
        host.check_load_mac1(self.store, identity, answer, terms)
        mac2 = host.make_load_mac2(self.store, identity, answer, terms, AT)
        tac = outlet.credit_for_load(card.transmit, AT, mac2)
        host.check_load_tac(self.store, identity, answer, terms, AT, tac)
        return tac


@pytest.fixture(scope="session")
def city() -> City:
    return City()
