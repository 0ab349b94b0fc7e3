"""The two card schemes, and what a card is called in this platform (card-files.md, section 4)."""

from dataclasses import dataclass
from enum import StrEnum

from libs.errors import InvalidInput

NUMBER_SIZE = 10
ISSUER_ID_SIZE = 8
FACTOR_SIZE = 8


class Scheme(StrEnum):
    """Whose rules a card follows; the value is the prefix of the canonical number."""

    CJ = "cj"
    JT = "jt"


class CardNumberMalformed(InvalidInput):
    """A card number or institution id is not of the canonical form."""

    reason = "CARD_NUMBER_INVALID"


@dataclass(frozen=True, slots=True)
class CardIdentity:
    """What a key is derived from: scheme, issuer and number of one application of a card.

    Attributes:
        scheme: CJ (MOHURD 住建部) or JT (MOT 交通部).
        issuer: 8 bytes, institution form of card-files.md section 4; of a CJ card built from its city code.
        number: 10 bytes BCD, canonical: right-aligned, zero-padded.
    """

    scheme: Scheme
    issuer: bytes
    number: bytes

    def __post_init__(self) -> None:
        if len(self.issuer) != ISSUER_ID_SIZE or len(self.number) != NUMBER_SIZE or not self.number.hex().isdecimal():
            raise CardNumberMalformed(card=f"{self.scheme}-{self.number.hex()}", issuer=self.issuer.hex())

    @classmethod
    def from_text(cls, card: str, issuer: bytes) -> "CardIdentity":
        """From the text form `jt-03104…`: scheme and 20 digits.

        Raises:
            CardNumberMalformed: Not that form.
        """
        scheme, _, digits = card.partition("-")
        if (
            scheme not in ("cj", "jt")
            or len(digits) != 2 * NUMBER_SIZE
            or not (digits.isascii() and digits.isdecimal())
        ):
            raise CardNumberMalformed(card=card)
        return cls(Scheme(scheme), issuer, bytes.fromhex(digits))

    @property
    def text(self) -> str:
        """Scheme and 20 digits, the form of resource names."""
        return f"{self.scheme}-{self.number.hex()}"

    @property
    def serial(self) -> bytes:
        """The card's diversification factor: the last 8 bytes of the number."""
        return self.number[-FACTOR_SIZE:]


def luhn_digit(body: str) -> str:
    """The Luhn check digit that follows `body`, a string of decimal digits (card-files.md, section 4).

    Raises:
        CardNumberMalformed: `body` holds something else than digits, or nothing.
    """
    if not (body.isascii() and body.isdecimal()):
        raise CardNumberMalformed(card=body)
    total = 0
    for position, digit in enumerate(reversed(body)):
        value = int(digit) * (2 - position % 2)
        total += value - 9 if value > 9 else value
    return str(-total % 10)
