"""What a card is called in the purse protocol (card-files.md, section 4); `libs.records.numbers` owns the numbers."""

from dataclasses import dataclass

from libs.errors import InvalidInput
from libs.records.numbers import Scheme, luhn_digit

__all__ = [
    "FACTOR_SIZE",
    "ISSUER_ID_SIZE",
    "NUMBER_SIZE",
    "CardIdentity",
    "CardNumberMalformed",
    "Scheme",
    "luhn_digit",
]

NUMBER_SIZE = 10
ISSUER_ID_SIZE = 8
FACTOR_SIZE = 8


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
