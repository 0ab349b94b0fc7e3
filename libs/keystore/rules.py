"""Which factors make a card key of a master key, per scheme, issuer, kind and version (purse-crypto.md, section 2).

A rule is a list of factor names, applied from the root inwards. The issuer-wide ones come first; the last is the card.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from libs.keystore.handles import KeyHandle, KeyKind
from libs.purse.scheme import CardIdentity, Scheme

Bytes2D = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.intp]


class Factor(StrEnum):
    """One 8-byte diversification factor."""

    CITY = "city"  # city code(2) || FF || five 00; the city is the first two bytes of a CJ serial
    ISSUER = "issuer"  # 8-byte issuer id
    SERIAL = "serial"  # last 8 bytes of the card number


Rule = tuple[Factor, ...]

_ISSUER_LEVEL: Rule = (Factor.SERIAL,)

# Defaults of the two schemes. Purchase keys hang from the national root, the others from the issuer [convention].
DEFAULT_RULES: Mapping[tuple[Scheme, KeyKind], Rule] = {
    (Scheme.CJ, KeyKind.PURCHASE): (Factor.CITY, Factor.SERIAL),
    (Scheme.JT, KeyKind.PURCHASE): (Factor.ISSUER, Factor.SERIAL),
    # The code of GET MESSAGE is checked by a module that knows nothing of the card yet (libs.purse.message_code).
    (Scheme.CJ, KeyKind.MESSAGE): (),
    (Scheme.JT, KeyKind.MESSAGE): (),
}


def city_factor(city: bytes) -> bytes:
    """The CJ level-2 factor: `city(2) || FF || 0000000000`."""
    assert len(city) == 2, "a city code has two bytes"
    return city + b"\xff\x00\x00\x00\x00\x00"


def factor_value(factor: Factor, card: CardIdentity) -> bytes:
    """The 8 bytes of one factor for one card."""
    if factor is Factor.SERIAL:
        return card.serial
    return card.issuer if factor is Factor.ISSUER else city_factor(card.serial[:2])


@dataclass(frozen=True, slots=True)
class DerivationRules:
    """Rules in force: exceptions of single keys over the defaults of their scheme.

    Attributes:
        exceptions: (scheme, issuer, kind, version) -> rule, for issuers that derive in their own way.
    """

    exceptions: Mapping[tuple[Scheme, bytes, KeyKind, int], Rule] = field(default_factory=dict)

    def rule(self, handle: KeyHandle) -> Rule:
        """The factor list of a master key."""
        own = self.exceptions.get((handle.scheme, handle.issuer, handle.kind, handle.version))
        return own if own is not None else DEFAULT_RULES.get((handle.scheme, handle.kind), _ISSUER_LEVEL)

    def factors(self, handle: KeyHandle, card: CardIdentity) -> tuple[bytes, ...]:
        """The 8-byte factors that make this card's key from `handle`, root first."""
        return tuple(factor_value(factor, card) for factor in self.rule(handle))

    def outer_levels(self, handle: KeyHandle, serials: Bytes2D) -> Iterator[tuple[list[bytes], Rows]]:
        """The factors above the card, root first, with the rows that share them: of CJ purchase keys one per city.

        Args:
            handle: Master key; its rule ends in the card's serial.
            serials: (n, 8) uint8, the last 8 bytes of each card number.
        """
        *outer, last = self.rule(handle)
        assert last is Factor.SERIAL, "the last factor is the card"
        if Factor.CITY not in outer:
            yield [handle.issuer for _ in outer], np.arange(len(serials))
            return
        cities = serials[:, 0].astype(np.uint16) << 8 | serials[:, 1]
        for city in np.unique(cities):
            code = city_factor(int(city).to_bytes(2, "big"))
            yield [code if factor is Factor.CITY else handle.issuer for factor in outer], np.flatnonzero(cities == city)
