"""Numbers of cards, institutions, terminals and PSAMs (card-files.md, sections 4 and 5).

A card is known everywhere by scheme and 20 digits: `jt-03104…` or `cj-00009901…`. In files the
scheme is told by the card class and the digits are 10 bytes BCD.
"""

import re
from enum import IntEnum, StrEnum

from libs.records.errors import NumberInvalid


class Scheme(StrEnum):
    """Whose card standard a card follows: MOHURD (CJ) or MOT (JT)."""

    CJ = "cj"
    JT = "jt"


class CardClass(IntEnum):
    """Card class of a record (card-files.md, section 8)."""

    M1 = 0x01
    CPU_CJ = 0x03
    CPU_JT = 0x07

    @property
    def scheme(self) -> Scheme:
        """The scheme whose numbers this class of card carries; M1 cards are of the CJ family."""
        return Scheme.JT if self is CardClass.CPU_JT else Scheme.CJ


class Role(StrEnum):
    """First two digits of an institution id [convention]."""

    CENTRE = "00"
    ISSUER = "01"
    ACQUIRER = "11"


_CARD_TEXT = re.compile(r"(cj|jt)-([0-9]{20})", re.ASCII)


def _digits(number: str, length: int, what: str) -> str:
    if len(number) != length or not (number.isascii() and number.isdecimal()):
        raise NumberInvalid(number=number, what=what, expected=f"{length} digits")
    return number


def _packed_digits(packed: bytes, length: int, what: str) -> str:
    text = bytes(packed).hex()
    if len(packed) != length or not text.isdecimal():
        raise NumberInvalid(number=text, what=what, expected=f"{length} bytes of packed digits")
    return text


def card_text(scheme: Scheme, number: bytes) -> str:
    """Canonical text of a card: scheme and 20 digits.

    Args:
        scheme: Of the card.
        number: 10 bytes BCD as in a record.

    Raises:
        NumberInvalid: Not 10 bytes of digits.
    """
    return f"{scheme.value}-{_packed_digits(number, 10, 'card number')}"


def card_bytes(text: str) -> tuple[Scheme, bytes]:
    """Scheme and 10 bytes BCD of a canonical text; whether such a card exists is another question.

    Raises:
        NumberInvalid: Not `cj-` or `jt-` and 20 digits.
    """
    match = _CARD_TEXT.fullmatch(text)
    if match is None:
        raise NumberInvalid(number=text, what="card number", expected="cj- or jt- and 20 digits")
    return Scheme(match[1]), bytes.fromhex(match[2])


def card_from_cj(serial: bytes) -> str:
    """Canonical text of a CJ card from the 8 bytes of its file 0015 (offset 12).

    Raises:
        NumberInvalid: Not 8 bytes of digits. Cities that count in binary convert before they get here.
    """
    return f"{Scheme.CJ.value}-{_packed_digits(serial, 8, 'CJ card number').rjust(20, '0')}"


def cj_serial(text: str) -> bytes:
    """The 8 bytes that a CJ card itself stores and diversifies its keys by.

    Raises:
        NumberInvalid: Not a CJ number, or more than 16 digits long.
    """
    scheme, number = card_bytes(text)
    if scheme is not Scheme.CJ or number[:2] != bytes(2):
        raise NumberInvalid(number=text, what="CJ card number", expected="cj-0000 and 16 digits")
    return number[2:]


def card_from_jt(number: str) -> str:
    """Canonical text of a JT card from its 19 printed digits; any card is accepted, Luhn digit or not.

    Raises:
        NumberInvalid: Not 19 digits that start with 31.
    """
    if not _digits(number, 19, "JT card number").startswith("31"):
        raise NumberInvalid(number=number, what="JT card number", expected="19 digits that start with 31")
    return f"{Scheme.JT.value}-0{number}"


def luhn_digit(body: str) -> str:
    """The Luhn check digit to be appended to these digits.

    Raises:
        NumberInvalid: Anything but digits.
    """
    _digits(body, len(body) or 1, "Luhn body")
    doubled = (int(digit) * 2 for digit in reversed(body[-1::-2]))
    total = sum(value - 9 if value > 9 else value for value in doubled)
    total += sum(int(digit) for digit in body[-2::-2])
    return str(-total % 10)


def make_jt_number(city: str, serial: int, card_class: int = 0) -> str:
    """Canonical text of a JT card issued here: 31, class, city, serial, Luhn digit [convention].

    Args:
        city: 4 digits (GB/T 13497).
        serial: 0 to 99,999,999,999.
        card_class: One digit.

    Raises:
        NumberInvalid: A part is out of its range.
    """
    if not 0 <= serial < 10**11 or not 0 <= card_class <= 9:
        raise NumberInvalid(number=f"{card_class}/{serial}", what="JT class and serial", expected="1 and 11 digits")
    body = f"31{card_class}{_digits(city, 4, 'city code')}{serial:011d}"
    return card_from_jt(body + luhn_digit(body))


def check_own_jt_number(text: str) -> str:
    """Return the canonical text of a card that claims to be issued here if its Luhn digit is right.

    Raises:
        NumberInvalid: Not `jt-031` and 17 digits, or the check digit is wrong.
    """
    scheme, number = card_bytes(text)
    digits = number.hex()
    if scheme is not Scheme.JT or not digits.startswith("031"):
        raise NumberInvalid(number=text, what="JT card number", expected="jt-031 and 17 digits")
    expected = luhn_digit(digits[1:-1])
    if digits[-1] != expected:
        raise NumberInvalid(number=text, what="JT check digit", expected=expected)
    return text


def make_cj_number(city: str, industry: str, serial: int) -> str:
    """Canonical text of a CJ card: city, industry (or main and sub type), serial in BCD.

    Args:
        city: 4 digits, the start of the postal code.
        industry: 4 digits.
        serial: 0 to 99,999,999.

    Raises:
        NumberInvalid: A part is out of its range.
    """
    if not 0 <= serial < 10**8:
        raise NumberInvalid(number=serial, what="CJ serial", expected="0 to 99999999")
    return f"cj-0000{_digits(city, 4, 'city code')}{_digits(industry, 4, 'industry code')}{serial:08d}"


def institution_id(role: Role, region: str, city: str) -> str:
    """Text of an institution id of the project form: role, region, city; 8 digits [convention].

    Raises:
        NumberInvalid: Region is not 2 digits or city not 4.
    """
    return role.value + _digits(region, 2, "region") + _digits(city, 4, "city code")


def institution_bytes(text: str) -> bytes:
    """The 8 bytes of an institution id: digits left-aligned, padded with F.

    Args:
        text: 1 to 16 digits; the padding may be written out (`11139901FFFFFFFF`).

    Raises:
        NumberInvalid: Anything else.
    """
    digits = text[:-8] if len(text) == 16 and text.endswith("FFFFFFFF") else text
    if not 1 <= len(digits) <= 16 or not (digits.isascii() and digits.isdecimal()):
        raise NumberInvalid(number=text, what="institution id", expected="1 to 16 digits, then F")
    return bytes.fromhex(digits.ljust(16, "F"))


def institution_text(packed: bytes) -> str:
    """The digits of an 8-byte institution id, without its padding.

    Raises:
        NumberInvalid: Not 8 bytes, no digit, or something other than F after the digits.
    """
    text = bytes(packed).hex().upper()
    digits = text.rstrip("F")
    if len(text) != 16 or not digits.isdecimal():
        raise NumberInvalid(number=text, what="institution id", expected="8 bytes: digits, then F")
    return digits


def terminal_bytes(text: str) -> bytes:
    """The 6 bytes of a terminal number of 12 digits (PSAM file 0016).

    Raises:
        NumberInvalid: Not 12 digits.
    """
    return bytes.fromhex(_digits(text, 12, "terminal number"))


def terminal_text(packed: bytes) -> str:
    """The 12 digits of a terminal number.

    Raises:
        NumberInvalid: Not 6 bytes of digits.
    """
    return _packed_digits(packed, 6, "terminal number")


def psam_bytes(text: str) -> bytes:
    """The 10 bytes of a PSAM number of 20 digits (PSAM file 0015).

    Raises:
        NumberInvalid: Not 20 digits.
    """
    return bytes.fromhex(_digits(text, 20, "PSAM number"))


def psam_text(packed: bytes) -> str:
    """The 20 digits of a PSAM number.

    Raises:
        NumberInvalid: Not 10 bytes of digits.
    """
    return _packed_digits(packed, 10, "PSAM number")
