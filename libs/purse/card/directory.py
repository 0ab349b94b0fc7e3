"""What a card says about itself: FCI of applications and directories, the PSE and PPSE (card-files.md, section 1)."""

from collections.abc import Sequence

from libs.purse.card.files import FileKind, FileSpec
from libs.purse.card.profiles import PPSE_NAME, PSE_NAMES, SFI_DIRECTORY, DirectoryKind, Profile
from libs.purse.card.state import Application

__all__ = ["FID_MASTER", "FILES", "PPSE_NAME", "PSE_NAMES", "application_fci", "directory_fci", "entries", "ppse_fci"]

FID_MASTER = 0x3F00
# The master file of a card that was personalised without one of its own.
FILES = {SFI_DIRECTORY: FileSpec(0x0001, SFI_DIRECTORY, FileKind.RECORDS, ())}


def tlv(tag: bytes, value: bytes) -> bytes:
    """Tag, one length byte, value; a value of this protocol is below 128 bytes."""
    assert len(value) < 128, "one length byte is enough for everything that a purse card says"
    return tag + bytes((len(value),)) + value


def application_fci(application: Application) -> bytes:
    """FCI of a dedicated file: of an ADF with version and file 0015 in it, of a DDF with its directory file."""
    profile = application.profile
    if profile.kind is not DirectoryKind.ADF:
        return directory_fci(profile.aid)
    public = application.public
    proprietary = tlv(b"\x9f\x08", public[9:10]) + tlv(b"\x9f\x0c", public) if public else tlv(b"\x50", profile.label)
    return tlv(b"\x6f", tlv(b"\x84", profile.aid) + tlv(b"\xa5", proprietary))


def directory_fci(name: bytes = PSE_NAMES[0]) -> bytes:
    """FCI of the master file or a DDF: where its directory is."""
    return tlv(b"\x6f", tlv(b"\x84", name) + tlv(b"\xa5", tlv(b"\x88", bytes((SFI_DIRECTORY,)))))


def ppse_fci(profiles: Sequence[Profile]) -> bytes:
    """FCI of the contactless directory, with every listed application in it."""
    listed = b"".join(_entry(profile) for profile in profiles)
    return tlv(b"\x6f", tlv(b"\x84", PPSE_NAME) + tlv(b"\xa5", tlv(b"\xbf\x0c", listed)))


def entries(applications: Sequence[Application], parent: bytes = b"") -> tuple[bytes, ...]:
    """Records of a directory file: one for each application and DDF that it lists."""
    return tuple(_entry(each.profile) for each in applications if each.profile.parent == parent)


def _entry(profile: Profile) -> bytes:
    name = b"\x9d" if profile.kind is DirectoryKind.DDF else b"\x4f"
    return tlv(b"\x61", tlv(name, profile.aid) + tlv(b"\x50", profile.label))
