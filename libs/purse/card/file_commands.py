"""File commands of the card: READ, UPDATE and APPEND of binaries and records (purse-protocol.md, 2; card-files.md)."""

from libs.purse import status
from libs.purse.apdu import Command
from libs.purse.card.files import RECORD_KINDS, Content, FileKind, FileSpec
from libs.purse.card.messaging import read_answer, written_data
from libs.purse.card.session import Session
from libs.purse.card.state import Application

# What one plain answer can carry (purse-protocol.md, section 1); a protected one has 4 bytes of MAC less.
_ANSWER_MAX = 0xFF


def addressed(session: Session, files: dict[int, FileSpec], command: Command) -> tuple[FileSpec | None, int]:
    """File and offset that P1 P2 of a BINARY command name; selecting by SFI makes the file the current one."""
    if command.p1 & 0x80:
        session.file = files.get(command.p1 & 0x1F)
        return session.file, command.p2
    return session.file, command.p1 << 8 | command.p2


def record_file(session: Session, files: dict[int, FileSpec], command: Command) -> FileSpec | None:
    """File that P2 of a RECORD command names; SFI 0 is the current one."""
    return files.get(command.p2 >> 3) if command.p2 >> 3 else session.file


def read_binary(
    session: Session,
    application: Application | None,
    spec: FileSpec | None,
    content: Content,
    offset: int,
    command: Command,
) -> bytes:
    """READ BINARY: plain, or with MAC where the file demands it."""
    if spec is None:
        return status.FILE_NOT_FOUND if command.p1 & 0x80 else status.CONDITIONS
    if spec.kind is not FileKind.TRANSPARENT or not isinstance(content, bytes):
        return status.FILE_TYPE_MISMATCH
    refusal, answer = read_answer(session, application, spec, command)
    if refusal:
        return refusal
    if offset >= len(content):
        return status.BEYOND_END
    available = min(len(content) - offset, _ANSWER_MAX)
    if command.le is not None and command.le > available:
        return status.wrong_le(available)
    return answer(content[offset : offset + (command.le or available)]) + status.OK


def read_record(
    session: Session, application: Application | None, spec: FileSpec | None, content: Content, command: Command
) -> bytes:
    """READ RECORD by number or identifier; record 01 of a cyclic file is the newest."""
    mode = command.p2 & 7
    if mode not in (0, 4):
        return status.WRONG_PARAMETERS
    if spec is None:
        return status.FILE_NOT_FOUND if command.p2 >> 3 else status.CONDITIONS
    if spec.kind not in RECORD_KINDS:
        return status.FILE_TYPE_MISMATCH
    refusal, answer = read_answer(session, application, spec, command)
    if refusal:
        return refusal
    number = command.p1 if mode == 4 else spec.number_of(content, command.p1)
    record = spec.record(content, number)
    if record is None:
        return status.RECORD_NOT_FOUND
    if command.le not in (None, 0, len(record)):
        return status.wrong_le(len(record))
    return answer(record) + status.OK


def update_binary(session: Session, application: Application, command: Command) -> bytes:
    """UPDATE BINARY: plain into a free file, with MAC4 into a protected one, enciphered where the file demands it."""
    spec, offset = addressed(session, application.profile.files, command)
    if spec is None:
        return status.FILE_NOT_FOUND if command.p1 & 0x80 else status.CONDITIONS
    content = application.content(spec)
    if spec.kind is not FileKind.TRANSPARENT or not isinstance(content, bytes):
        return status.FILE_TYPE_MISMATCH
    refusal, data = written_data(session, application, spec, command)
    if refusal:
        return refusal
    if not data:
        return status.WRONG_LENGTH
    if offset + len(data) > len(content):
        return status.BEYOND_END
    application.commit(files={spec.sfi: content[:offset] + data + content[offset + len(data) :]})
    return status.OK


def update_record(session: Session, application: Application, command: Command) -> bytes:
    """UPDATE RECORD by number or identifier; a record keeps its length, and a variable one its identifier."""
    mode = command.p2 & 7
    if mode not in (0, 4):
        return status.WRONG_PARAMETERS
    spec = record_file(session, application.profile.files, command)
    if spec is None:
        return status.FILE_NOT_FOUND if command.p2 >> 3 else status.CONDITIONS
    if spec.kind not in RECORD_KINDS:
        return status.FILE_TYPE_MISMATCH
    refusal, data = written_data(session, application, spec, command)
    if refusal:
        return refusal
    content = application.content(spec)
    number = command.p1 if mode == 4 else spec.number_of(content, command.p1)
    old = spec.record(content, number)
    if old is None:
        return status.RECORD_NOT_FOUND
    if len(data) != len(old):
        return status.WRONG_LENGTH
    if spec.kind is FileKind.RECORDS and data[spec.identifier_offset] != old[spec.identifier_offset]:
        return status.BAD_DATA
    application.commit(files={spec.sfi: spec.replaced(content, number, data)})
    return status.OK


def append_record(session: Session, application: Application, command: Command) -> bytes:
    """APPEND RECORD: the newest of a cyclic file, whose oldest falls out; the last of another, while there is room."""
    if command.p1 or command.p2 & 7 not in (0, 4):
        return status.WRONG_PARAMETERS
    spec = record_file(session, application.profile.files, command)
    if spec is None:
        return status.FILE_NOT_FOUND if command.p2 >> 3 else status.CONDITIONS
    if spec.kind not in RECORD_KINDS:
        return status.FILE_TYPE_MISMATCH
    refusal, data = written_data(session, application, spec, command)
    if refusal:
        return refusal
    if len(data) != spec.record_size if spec.record_size else len(data) <= spec.identifier_offset:
        return status.WRONG_LENGTH
    content = application.content(spec)
    if not spec.has_room(content, data):
        return status.NO_ROOM
    appended = (*content, data) if isinstance(content, tuple) else spec.append(content, data)
    application.commit(files={spec.sfi: appended})
    return status.OK
