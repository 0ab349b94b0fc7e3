"""Kinds of application with their files, shared by all cards of a kind (card-files.md, sections 1-3)."""

from dataclasses import dataclass, field

from libs.purse.card.files import FileKind, FileSpec, Update
from libs.purse.scheme import Scheme

PSE_NAMES = (b"1PAY.SYS.DDF01", b"1PUB.SYS.DDF01")
PPSE_NAME = b"2PAY.SYS.DDF01"
SFI_DIRECTORY = 0x01
SFI_PUBLIC = 0x15
SFI_HOLDER = 0x16
SFI_LOG = 0x18
SFI_TRIP_STATE = 0x1A
SFI_TRANSIT_LOG = 0x1E
PUBLIC_SIZE = 30
LOG_RECORD_SIZE = 23

# Transit cards are issued with this fixed PIN, which is no secret (purse-protocol.md, section 2).
TRANSIT_PIN = bytes.fromhex("123456")
# The offline record carries a signed balance, so a card never holds more [convention].
BALANCE_MAX_FEN = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of application, shared by every card that has it.

    Attributes:
        scheme: Whose layout file 0015 has.
        aid: Name for SELECT.
        fid: File id of the application, for SELECT by id.
        label: In the directory.
        files: By short file identifier.
        in_ppse: Whether the contactless directory lists it.
        blocked_status: What SELECT answers while the application is blocked.
    """

    scheme: Scheme
    aid: bytes
    fid: int
    label: bytes
    files: dict[int, FileSpec] = field(repr=False)
    in_ppse: bool
    blocked_status: bytes

    def file_of_fid(self, fid: int) -> FileSpec | None:
        """The file with that two-byte id."""
        for spec in self.files.values():
            if spec.fid == fid:
                return spec
        return None


def _by_sfi(*specs: FileSpec) -> dict[int, FileSpec]:
    return {spec.sfi: spec for spec in specs}


def _blank_records(size: int, *identifiers: bytes) -> tuple[bytes, ...]:
    return tuple(identifier.ljust(size, b"\x00") for identifier in identifiers)


_PUBLIC = FileSpec(0x0015, SFI_PUBLIC, FileKind.TRANSPARENT, bytes(PUBLIC_SIZE), Update.MAC)
_PURSE = FileSpec(0x0002, 0x02, FileKind.PURSE)
_LOG = FileSpec(0x0018, SFI_LOG, FileKind.CYCLIC, record_size=LOG_RECORD_SIZE, record_count=10)
_TRANSIT_LOG = FileSpec(0x001E, SFI_TRANSIT_LOG, FileKind.CYCLIC, record_size=48, record_count=30, capp=True)

CJ = Profile(
    scheme=Scheme.CJ,
    aid=bytes.fromhex("A00000000386980701"),
    fid=0x3F01,
    label=b"CITY",
    files=_by_sfi(
        _PUBLIC,
        _PURSE,
        _LOG,
        _TRANSIT_LOG,
        FileSpec(0x0016, SFI_HOLDER, FileKind.TRANSPARENT, bytes(39), Update.MAC),
        # Rail, bus, control: identifier, length of what follows, lock flag, data (48 bytes in one metro).
        FileSpec(
            0x0017,
            0x17,
            FileKind.RECORDS,
            _blank_records(48, b"\x02\x2e", b"\x03\x2e", b"\x11\x2e"),
            Update.MAC,
            capp=True,
        ),
    ),
    in_ppse=False,
    blocked_status=b"\x6a\x81",
)

JT = Profile(
    scheme=Scheme.JT,
    aid=bytes.fromhex("A000000632010105"),
    fid=0x8011,
    label=b"TUNI",
    files=_by_sfi(
        _PUBLIC,
        _PURSE,
        _LOG,
        _TRANSIT_LOG,
        FileSpec(0x0016, SFI_HOLDER, FileKind.TRANSPARENT, bytes(55), Update.MAC),
        FileSpec(0x0017, 0x17, FileKind.TRANSPARENT, bytes(60), Update.MAC),
        # The bus record 2702: its second byte is the identifier that terminals in service send.
        FileSpec(
            0x001A,
            SFI_TRIP_STATE,
            FileKind.RECORDS,
            _blank_records(128, b"\x27\x02\x7d"),
            Update.MAC,
            identifier_offset=1,
            capp=True,
        ),
    ),
    in_ppse=True,
    blocked_status=b"\x6a\x81",
)

PROFILES = {profile.scheme: profile for profile in (CJ, JT)}
