"""Cards, modules and keys of one imaginary city; a test states only what matters to it."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from libs.keystore import SoftKeyStore, demo_keystore
from libs.keystore.handles import KeyHandle, KeyKind
from libs.purse import card_commands, host, outlet
from libs.purse.card import (
    BANK,
    CJ,
    JT,
    PROFILES,
    CardKeys,
    Profile,
    VirtualCard,
    application,
    card_keys,
    ddf,
    master,
    other_keys,
    own_application,
    personalise,
    public_data,
)
from libs.purse.card.files import FileKind, FileSpec, Read, Update
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

# A scenic spot's own application with one file of each structure and protection.
PARK = own_application(
    bytes.fromhex("D156000001504152"),
    0x3F10,
    b"PARK",
    FileSpec(0x0003, 0x03, FileKind.TRANSPARENT, bytes(8), Update.FREE),
    FileSpec(0x0004, 0x04, FileKind.TRANSPARENT, bytes(range(16)), Update.MAC, read=Read.MAC),
    FileSpec(0x0006, 0x06, FileKind.TRANSPARENT, bytes(range(16)), Update.CIPHER, read=Read.CIPHER),
    FileSpec(0x0007, 0x07, FileKind.FIXED, (bytes(4),), Update.FREE, record_size=4, record_count=3),
    FileSpec(0x0008, 0x08, FileKind.RECORDS, (b"\x01\x02\xaa\xbb",), Update.MAC, size_max=12),
    FileSpec(0x0009, 0x09, FileKind.CYCLIC, b"", Update.FREE, record_size=4, record_count=3),
    FileSpec(0x000A, 0x0A, FileKind.TRANSPARENT, bytes(4), Update.FREE, read_right=0xFA, update_right=0xAA),
    parent=b"CITY.PARKS",
)


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

    def whole_keys(self, scheme: Scheme = Scheme.CJ, algorithm_id: int = 0) -> CardKeys:
        """The five keys and all others that the store holds."""
        identity = self.identity(scheme)
        return replace(
            card_keys(self.store, identity, algorithm_id=algorithm_id),
            others=other_keys(self.store, identity, algorithm_id=algorithm_id),
        )

    def handle(self, kind: KeyKind, scheme: Scheme = Scheme.CJ, algorithm_id: int = 0) -> KeyHandle:
        return self.store.find(scheme, ISSUER, kind, 1, algorithm_id)

    def rich_card(self, *, algorithm_id: int = 0, park: Profile = PARK) -> VirtualCard:
        """A city purse, a T-Union purse, a bank's purse pair and a scenic spot's own application in a directory."""
        cj, jt = (public_data(scheme, NUMBERS[scheme], ISSUER) for scheme in (Scheme.CJ, Scheme.JT))
        keys = self.whole_keys(algorithm_id=algorithm_id)
        code = card_commands.message_code(
            self.store, self.handle(KeyKind.MESSAGE, algorithm_id=algorithm_id), self.identity()
        )
        counter = itertools.count(1)
        return VirtualCard(
            [
                application(CJ, cj, keys, message_code=code),
                application(JT, jt, self.whole_keys(Scheme.JT, algorithm_id)),
                application(BANK, cj, keys),
                ddf(b"CITY.PARKS", 0xDF01, b"PARKS"),
                application(park, b"", keys),
            ],
            lambda size: next(counter).to_bytes(size, "big"),
            master(keys),
        )

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
