"""File commands of the card: READ and UPDATE BINARY, READ RECORD (purse-protocol.md, section 2; card-files.md)."""

from libs.purse import status
from libs.purse.apdu import Command
from libs.purse.card.files import Content, FileKind, FileSpec, Update
from libs.purse.card.security_commands import mac_refusal
from libs.purse.card.session import Session
from libs.purse.card.state import Application
from libs.purse.crypto import MAC_SIZE

_PLAIN, _PROTECTED = 0x00, 0x04


def addressed(session: Session, files: dict[int, FileSpec], command: Command) -> tuple[FileSpec | None, int]:
    """File and offset that P1 P2 of a BINARY command name; selecting by SFI makes the file the current one."""
    if command.p1 & 0x80:
        session.file = files.get(command.p1 & 0x1F)
        return session.file, command.p2
    return session.file, command.p1 << 8 | command.p2


def read_binary(spec: FileSpec | None, content: Content, offset: int, command: Command) -> bytes:
    """READ BINARY, plain."""
    if command.cla != _PLAIN:
        return status.LINE_PROTECTION
    if command.data:
        return status.WRONG_LENGTH
    if spec is None:
        return status.FILE_NOT_FOUND if command.p1 & 0x80 else status.CONDITIONS
    if spec.kind is not FileKind.TRANSPARENT or not isinstance(content, bytes):
        return status.FILE_TYPE_MISMATCH
    if offset >= len(content):
        return status.BEYOND_END
    available = len(content) - offset
    if command.le is not None and command.le > available:
        return status.wrong_le(available)
    return content[offset : offset + (command.le or available)] + status.OK


def read_record(spec: FileSpec | None, content: Content, command: Command) -> bytes:
    """READ RECORD by number or identifier, plain; record 01 of a cyclic file is the newest."""
    if command.cla != _PLAIN:
        return status.LINE_PROTECTION
    if command.data:
        return status.WRONG_LENGTH
    mode = command.p2 & 7
    if mode not in (0, 4):
        return status.WRONG_PARAMETERS
    if spec is None:
        return status.FILE_NOT_FOUND
    if spec.kind not in (FileKind.RECORDS, FileKind.CYCLIC):
        return status.FILE_TYPE_MISMATCH
    number = command.p1 if mode == 4 else spec.number_of(content, command.p1)
    record = spec.record(content, number)
    if record is None:
        return status.RECORD_NOT_FOUND
    if command.le not in (None, 0, len(record)):
        return status.wrong_le(len(record))
    return record + status.OK


def update_binary(session: Session, application: Application, command: Command) -> bytes:
    """UPDATE BINARY: plain into a free file, with MAC4 into a protected one."""
    spec, offset = addressed(session, application.profile.files, command)
    if spec is None:
        return status.FILE_NOT_FOUND if command.p1 & 0x80 else status.CONDITIONS
    content = application.content(spec)
    if spec.kind is not FileKind.TRANSPARENT or not isinstance(content, bytes):
        return status.FILE_TYPE_MISMATCH
    refusal, data = _permitted(session, application, spec, command)
    if refusal:
        return refusal
    if not data:
        return status.WRONG_LENGTH
    if offset + len(data) > len(content):
        return status.BEYOND_END
    application.commit(files={spec.sfi: content[:offset] + data + content[offset + len(data) :]})
    return status.OK


def update_record(session: Session, application: Application, command: Command) -> bytes:
    """UPDATE RECORD by number or identifier; a record keeps its length and its identifier."""
    mode = command.p2 & 7
    if mode not in (0, 4):
        return status.WRONG_PARAMETERS
    spec = application.profile.files.get(command.p2 >> 3)
    if spec is None:
        return status.FILE_NOT_FOUND
    content = application.content(spec)
    if not isinstance(content, tuple):
        return status.FILE_TYPE_MISMATCH
    refusal, data = _permitted(session, application, spec, command)
    if refusal:
        return refusal
    number = command.p1 if mode == 4 else spec.number_of(content, command.p1)
    old = spec.record(content, number)
    if old is None:
        return status.RECORD_NOT_FOUND
    if len(data) != len(old):
        return status.WRONG_LENGTH
    if data[spec.identifier_offset] != old[spec.identifier_offset]:
        return status.BAD_DATA
    application.commit(files={spec.sfi: (*content[: number - 1], data, *content[number:])})
    return status.OK


def _permitted(session: Session, application: Application, spec: FileSpec, command: Command) -> tuple[bytes, bytes]:
    """Refusal (empty when there is none) and the plain data of a write."""
    if spec.update is Update.NEVER:
        return status.SECURITY_STATUS, b""
    if spec.update is Update.FREE:
        return (status.LINE_PROTECTION, b"") if command.cla != _PLAIN else (b"", command.data)
    if command.cla != _PROTECTED:
        return status.MAC_MISSING, b""
    return mac_refusal(session, application, command), command.data[:-MAC_SIZE]
