"""What a card says about itself: FCI of applications, the PSE and PPSE directories (card-files.md, section 1)."""

from collections.abc import Sequence

from libs.purse.card.files import FileKind, FileSpec
from libs.purse.card.profiles import PPSE_NAME, PSE_NAMES, SFI_DIRECTORY, Profile
from libs.purse.card.state import Application

__all__ = ["FID_MASTER", "FILES", "PPSE_NAME", "PSE_NAMES", "application_fci", "entries", "ppse_fci", "pse_fci"]

FID_MASTER = 0x3F00
FILES = {SFI_DIRECTORY: FileSpec(0x0001, SFI_DIRECTORY, FileKind.RECORDS)}


def tlv(tag: bytes, value: bytes) -> bytes:
    """Tag, one length byte, value; a value of this protocol is below 128 bytes."""
    assert len(value) < 128, "one length byte is enough for everything that a purse card says"
    return tag + bytes((len(value),)) + value


def application_fci(application: Application) -> bytes:
    """FCI of an ADF, with the application version and file 0015 in it."""
    public = application.public
    proprietary = tlv(b"\x9f\x08", public[9:10]) + tlv(b"\x9f\x0c", public)
    return tlv(b"\x6f", tlv(b"\x84", application.profile.aid) + tlv(b"\xa5", proprietary))


def pse_fci(name: bytes = PSE_NAMES[0]) -> bytes:
    """FCI of the master file: where its directory is."""
    return tlv(b"\x6f", tlv(b"\x84", name) + tlv(b"\xa5", tlv(b"\x88", bytes((SFI_DIRECTORY,)))))


def ppse_fci(profiles: Sequence[Profile]) -> bytes:
    """FCI of the contactless directory, with every listed application in it."""
    listed = b"".join(_entry(profile) for profile in profiles)
    return tlv(b"\x6f", tlv(b"\x84", PPSE_NAME) + tlv(b"\xa5", tlv(b"\xbf\x0c", listed)))


def entries(profiles: Sequence[Profile]) -> tuple[bytes, ...]:
    """Records of the directory file, one per application."""
    return tuple(_entry(profile) for profile in profiles)


def _entry(profile: Profile) -> bytes:
    return tlv(b"\x61", tlv(b"\x4f", profile.aid) + tlv(b"\x50", profile.label))
