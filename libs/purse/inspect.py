"""What a terminal reads of a card: every application, from file 0015 (card-files.md, sections 1 and 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.purse import status, tlv
from libs.purse.apdu import build
from libs.purse.card.profiles import PPSE_NAME, PSE_NAMES
from libs.purse.fields import INSTITUTION_FILL
from libs.purse.scheme import CardIdentity, CardNumberMalformed, Scheme
from libs.purse.transceiver import Transceiver, demand, exchange, refused

# Application name -> scheme: the two layouts of file 0015 are told apart by the AID, never by content.
AIDS: Mapping[bytes, Scheme] = {
    bytes.fromhex("A000000632010105"): Scheme.JT,
    bytes.fromhex("A000000632010106"): Scheme.JT,
    bytes.fromhex("A00000000386980701"): Scheme.CJ,
}
_PUBLIC_SIZE = 30
_READ_PUBLIC = bytes.fromhex("00B095001E")
# Role 01 issuer, region 01: a CJ card names its city only (card-files.md, section 4 [convention]).
CJ_ISSUER_PREFIX = b"\x01\x01"
_TAG_ADF, _TAG_DDF, _TAG_LABEL, _TAG_ENTRY, _TAG_SFI = 0x4F, 0x9D, 0x50, 0x61, 0x88
# A card that answers every record number would keep us here for ever.
_DIRECTORY_RECORDS_MAX = 32
_BLOCKED = frozenset({status.NOT_SUPPORTED, status.INVALIDATED, status.BLOCKED_FOR_EVER})


@dataclass(frozen=True, slots=True)
class CardView:
    """One application of the card in the field.

    Attributes:
        aid: Its name.
        scheme: CJ or JT.
        issuer: 8 bytes; of a CJ card built from its city code.
        number: 10 bytes BCD, canonical.
        city: City code, 2 bytes BCD.
        enabled: A CJ card's enabled flag; True for JT.
        start: First day, 4 bytes BCD.
        expiry: Last day, 4 bytes BCD.
        blocked: The application answers SELECT as blocked; nothing else of it is known then.
    """

    aid: bytes
    scheme: Scheme
    issuer: bytes = bytes(8)
    number: bytes = bytes(10)
    city: bytes = bytes(2)
    enabled: bool = False
    start: bytes = bytes(4)
    expiry: bytes = bytes(4)
    blocked: bool = False

    @property
    def identity(self) -> CardIdentity:
        """What keys are derived from."""
        return CardIdentity(self.scheme, self.issuer, self.number)

    @property
    def sam_factors(self) -> bytes:
        """Factors for the PSAM, card first (purse-protocol.md, section 4)."""
        outer = self.issuer if self.scheme is Scheme.JT else self.city + b"\xff\x00\x00\x00\x00\x00"
        return self.number[-8:] + outer


def parse_public(aid: bytes, scheme: Scheme, public: bytes, cj_issuer_prefix: bytes = CJ_ISSUER_PREFIX) -> CardView:
    """A view from the 30 bytes of file 0015.

    Raises:
        CardNumberMalformed: The card number is not BCD: a chip that was never personalised, or not one of ours.
    """
    start, expiry = public[20:24], public[24:28]
    if scheme is Scheme.CJ:
        city = public[2:4]
        issuer, number = cj_issuer_prefix + city + INSTITUTION_FILL, bytes(2) + public[12:20]
        view = CardView(aid, scheme, issuer, number, city, public[8] == 1, start, expiry)
    else:
        view = CardView(aid, scheme, public[:8], public[10:20], public[2:4], True, start, expiry)
    if not view.number.hex().isdecimal():
        raise CardNumberMalformed(card=f"{scheme}-{view.number.hex()}")
    return view


def select(card: Transceiver, aid: bytes, cj_issuer_prefix: bytes = CJ_ISSUER_PREFIX) -> CardView | None:
    """Select one application and read its file 0015; None when the card does not have it.

    Raises:
        CardGone: The card left.
        CardRefused: It has the application but does not let its file 0015 be read.
        CardNumberMalformed: The card number is not BCD.
    """
    _, word = exchange(card, build(b"\x00\xa4\x04\x00", aid, 0))
    if word in _BLOCKED:
        return CardView(aid, AIDS[aid], blocked=True)
    if word == status.FILE_NOT_FOUND:
        return None
    if word != status.OK:
        raise refused(b"\x00\xa4\x04\x00", word)
    return parse_public(aid, AIDS[aid], demand(card, _READ_PUBLIC, size=_PUBLIC_SIZE), cj_issuer_prefix)


def detect(card: Transceiver, cj_issuer_prefix: bytes = CJ_ISSUER_PREFIX) -> tuple[CardView, ...]:
    """Every application of the card that this project knows, T-Union first; the last one found stays selected."""
    views = (select(card, aid, cj_issuer_prefix) for aid in AIDS)
    return tuple(view for view in views if view is not None)


@dataclass(frozen=True, slots=True)
class Found:
    """An application that the card has, known to this project or not.

    Attributes:
        name: AID or DF name.
        path: Names of the directories that list it, outermost first; empty for one that no directory lists.
        label: From its directory entry; empty when there is none.
    """

    name: bytes
    path: tuple[bytes, ...] = ()
    label: bytes = b""


def discover(card: Transceiver) -> tuple[Found, ...]:
    """Every application of the card: those that its directories list, DDFs followed, and known ones that none lists.

    Raises:
        CardGone: The card left.
    """
    found: dict[bytes, Found] = {}
    waiting: list[tuple[bytes, ...]] = [(name,) for name in PSE_NAMES]
    seen: set[bytes] = set()
    while waiting:
        path = waiting.pop(0)
        if path[-1] in seen:
            continue
        seen.add(path[-1])
        for tag, name, label in _directory_entries(card, path[-1]):
            if tag == _TAG_DDF:
                waiting.append((*path, name))
            else:
                found.setdefault(name, Found(name, path, label))
    for tag, name, label in _ppse_entries(card):
        if tag == _TAG_ADF:
            found.setdefault(name, Found(name, (PPSE_NAME,), label))
    for aid in AIDS:
        if aid not in found:
            _, word = exchange(card, build(b"\x00\xa4\x04\x00", aid, 0))
            if word == status.OK or word in _BLOCKED:
                found[aid] = Found(aid)
    return tuple(found.values())


def _directory_entries(card: Transceiver, name: bytes) -> list[tuple[int, bytes, bytes]]:
    """Tag (4F or 9D), name and label of each record of a directory's DIR file; none when it cannot be selected."""
    fci, word = exchange(card, build(b"\x00\xa4\x04\x00", name, 0))
    if word != status.OK:
        return []
    sfi = next((value[0] for tag, value in tlv.walk(fci) if tag == _TAG_SFI and value), 1)
    entries = []
    for number in range(1, _DIRECTORY_RECORDS_MAX + 1):
        record, word = exchange(card, bytes((0x00, 0xB2, number, sfi << 3 | 4, 0x00)))
        if word != status.OK:
            break
        entries += _entries(record)
    return entries


def _ppse_entries(card: Transceiver) -> list[tuple[int, bytes, bytes]]:
    fci, word = exchange(card, build(b"\x00\xa4\x04\x00", PPSE_NAME, 0))
    return _entries(fci) if word == status.OK else []


def _entries(template: bytes) -> list[tuple[int, bytes, bytes]]:
    """The directory entries (tag 61) anywhere in a template."""
    entries = []
    for tag, value in tlv.walk(template):
        if tag == _TAG_ENTRY:
            parts = dict(tlv.items(value))
            kind = next((each for each in (_TAG_ADF, _TAG_DDF) if parts.get(each)), None)
            if kind is not None:
                entries.append((kind, parts[kind], parts.get(_TAG_LABEL, b"")))
    return entries
