"""Kinds of application with their files, shared by all cards of a kind (card-files.md, sections 1-3)."""

from dataclasses import dataclass, field
from enum import Enum, auto

from libs.purse.card.files import FileKind, FileSpec, Update
from libs.purse.scheme import Scheme
from libs.purse.transactions import PurseId

PSE_NAMES = (b"1PAY.SYS.DDF01", b"1PUB.SYS.DDF01")
PPSE_NAME = b"2PAY.SYS.DDF01"
SFI_DIRECTORY = 0x01
SFI_PUBLIC = 0x15
SFI_HOLDER = 0x16
SFI_LOG = 0x18
SFI_TRIP_STATE = 0x1A
SFI_TRANSIT_LOG = 0x1E
# Where an application keeps its answer to GET MESSAGE; 31 is no short file identifier, so no command reaches it.
SFI_MESSAGE = 0x1F
PUBLIC_SIZE = 30
LOG_RECORD_SIZE = 23

# Transit cards are issued with this fixed PIN, which is no secret (purse-protocol.md, section 2).
TRANSIT_PIN = bytes.fromhex("123456")
# The offline record carries a signed balance, so a card never holds more [convention].
BALANCE_MAX_FEN = 0x7FFF_FFFF


class DirectoryKind(Enum):
    """What a dedicated file (DF) is (card-files.md, section 1)."""

    MF = auto()  # the master file
    DDF = auto()  # a directory of applications
    ADF = auto()  # an application


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of dedicated file, shared by every card that has it: an application, or a directory of them.

    Attributes:
        scheme: Whose layout file 0015 has.
        aid: Name for SELECT; of a DDF or the MF its DF name.
        fid: File id, for SELECT by id.
        label: In the directory.
        files: By short file identifier.
        in_ppse: Whether the contactless directory lists it.
        blocked_status: What SELECT answers while the application is blocked.
        kind: Application or directory.
        parent: Name of the DDF that lists it; empty when the MF does.
    """

    scheme: Scheme
    aid: bytes
    fid: int
    label: bytes
    files: dict[int, FileSpec] = field(repr=False)
    in_ppse: bool
    blocked_status: bytes
    kind: DirectoryKind = DirectoryKind.ADF
    parent: bytes = b""

    def file_of_fid(self, fid: int) -> FileSpec | None:
        """The file with that two-byte id."""
        for spec in self.files.values():
            if spec.fid == fid:
                return spec
        return None

    def has_purse(self, purse: PurseId) -> bool:
        """Whether the application keeps that purse."""
        spec = self.files.get(purse)
        return spec is not None and spec.kind is FileKind.PURSE

    @property
    def purses(self) -> tuple[PurseId, ...]:
        """The purses that the application keeps."""
        return tuple(purse for purse in PurseId if self.has_purse(purse))


def by_sfi(*specs: FileSpec) -> dict[int, FileSpec]:
    """The files of a profile."""
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
    files=by_sfi(
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
            # The last one holds the discount state (card-lifecycle-and-fares.md, section 4).
            (*_blank_records(48, b"\x02\x2e", b"\x03\x2e", b"\x11\x2e"), b"\x20\x1e".ljust(32, b"\x00")),
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
    files=by_sfi(
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
            # Behind it the discount state, in a record of our own: its 32 bytes follow the head [convention].
            _blank_records(128, b"\x27\x02\x7d", b"\x27\x20\x7d"),
            Update.MAC,
            identifier_offset=1,
            capp=True,
        ),
    ),
    in_ppse=True,
    blocked_status=b"\x6a\x81",
)

# The bank's form of the city purse: an electronic deposit beside the purse (电子存折 and 电子钱包 of one application).
BANK = Profile(
    scheme=Scheme.CJ,
    aid=bytes.fromhex("A00000000386980702"),
    fid=0x3F02,
    label=b"BANK",
    files=by_sfi(
        _PUBLIC,
        FileSpec(0x0001, 0x01, FileKind.PURSE),
        _PURSE,
        _LOG,
        FileSpec(0x0016, SFI_HOLDER, FileKind.TRANSPARENT, bytes(39), Update.MAC),
    ),
    in_ppse=False,
    blocked_status=b"\x62\x83",
)

# The master file as a place of its own: issuing data 0005 (card-files.md, section 3), keys, security state.
MASTER = Profile(
    scheme=Scheme.CJ,
    aid=PSE_NAMES[0],
    fid=0x3F00,
    label=b"",
    files=by_sfi(
        FileSpec(0x0001, SFI_DIRECTORY, FileKind.RECORDS, ()),
        FileSpec(0x0005, 0x05, FileKind.TRANSPARENT, bytes(40), Update.MAC),
        FileSpec(0x0000, 0x00, FileKind.KEY),
    ),
    in_ppse=False,
    blocked_status=b"\x6a\x81",
    kind=DirectoryKind.MF,
)

PROFILES = {profile.scheme: profile for profile in (CJ, JT)}


def directory_of(name: bytes, fid: int, label: bytes = b"") -> Profile:
    """A DDF: a directory that lists the applications whose `parent` is its name."""
    files = by_sfi(FileSpec(0x0001, SFI_DIRECTORY, FileKind.RECORDS, ()))
    return Profile(Scheme.CJ, name, fid, label, files, False, b"\x6a\x81", DirectoryKind.DDF)


def own_application(
    aid: bytes, fid: int, label: bytes, *files: FileSpec, scheme: Scheme = Scheme.CJ, parent: bytes = b""
) -> Profile:
    """A participant's own application, with its own keys and files; a purse is a file of kind PURSE, SFI 01 or 02.

    Args:
        aid: 5 to 16 bytes.
        fid: Not yet used on the card.
        label: At most 16 bytes, for the directory.
        files: Its elementary files; a key file is added.
        scheme: Whose layout its file 0015 has, if it has one.
        parent: Name of the DDF that lists it.
    """
    keys = FileSpec(0x0000, 0x00, FileKind.KEY)
    return Profile(scheme, aid, fid, label, by_sfi(keys, *files), False, b"\x62\x83", parent=parent)
