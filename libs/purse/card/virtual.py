"""`VirtualCard`: APDU bytes in, response bytes and status word out, never an exception."""

import os
from collections.abc import Callable, Sequence
from typing import ClassVar

from libs.purse import apdu, status
from libs.purse.apdu import Command
from libs.purse.card import directory, file_commands, purse_commands, security_commands, settle
from libs.purse.card.files import Content, FileKind, FileSpec
from libs.purse.card.messaging import PLAIN, PROTECTED
from libs.purse.card.profiles import SFI_DIRECTORY, DirectoryKind
from libs.purse.card.session import Pending, Session
from libs.purse.card.state import Application, Block, Fuse, PowerLost
from libs.purse.transceiver import CardGone

Random = Callable[[int], bytes]

_INS_CHALLENGE, _INS_SELECT, _INS_CAPP_CACHE = 0x84, 0xA4, 0xDC
_INS_BLOCK, _INS_UNBLOCK = 0x1E, 0x18
# What a reversibly blocked application still answers; one that is blocked for ever answers SELECT alone, with 9303.
_WHILE_BLOCKED = frozenset({_INS_SELECT, _INS_CHALLENGE, _INS_BLOCK, _INS_UNBLOCK})
# Sample answer to select of an FM1208 (card-files.md, section 7); do not identify cards by it.
_ATS = bytes.fromhex("107880900220900000000000" + "66799D24")
# The same as a PC/SC reader of contactless cards reports it: 3B 8n 80 01, the historical bytes, and their checksum.
_HISTORICAL = bytes.fromhex("20900000000000" + "66799D24")


def _contactless_atr(historical: bytes) -> bytes:
    body = bytes((0x80 | len(historical), 0x80, 0x01)) + historical
    check = 0
    for byte in body:
        check ^= byte
    return b"\x3b" + body + bytes((check,))


_InApplication = Callable[[Session, Application, Command], bytes]
_Completes = Callable[[Session, Application, Command, Pending | None], bytes]


def _in_application(serve: _InApplication) -> "_Serve":
    """A command that any selected application answers, and that ends a transaction under way."""

    def served(self: "VirtualCard", command: Command) -> bytes:
        session = self._session
        session.pending = None
        if session.application is None:
            return status.CONDITIONS
        return serve(session, session.application, command)

    return served


def _completing(serve: _Completes) -> "_Serve":
    """A command that completes the transaction under way, which is over whatever the answer."""

    def served(self: "VirtualCard", command: Command) -> bytes:
        session = self._session
        pending, session.pending = session.pending, None
        if session.application is None:
            return status.CONDITIONS
        return serve(session, session.application, command, pending)

    return served


class VirtualCard:
    """A contactless CPU card with one or more applications.

    Args:
        applications: Applications (ADF) and directories of them (DDF), in directory order.
        random: Source of challenges and transaction randoms, `(size) -> bytes`.
        master: The master file, for a card that keeps files or keys there.

    Attributes:
        applications: What the card keeps, in directory order.
        master: The master file, or None.
        blocked: CARD BLOCK was accepted; only the memory is left.
    """

    __slots__ = ("_random", "_session", "applications", "blocked", "master")

    atr: ClassVar[bytes] = _contactless_atr(_HISTORICAL)

    def __init__(
        self, applications: Sequence[Application], random: Random = os.urandom, master: Application | None = None
    ) -> None:
        self.applications = tuple(applications)
        self.master = master
        self.blocked = False
        self._random = random
        self._session = Session()
        self._session.enter(master)

    def __repr__(self) -> str:
        return f"VirtualCard({', '.join(map(repr, self.applications))})"

    def application(self, aid: bytes) -> Application:
        """What the card keeps of one application.

        Raises:
            KeyError: There is no such application on this card.
        """
        for application in self.applications:
            if application.profile.aid == aid:
                return application
        raise KeyError(aid.hex())

    def reset(self) -> bytes:
        """Power lost and found again: everything volatile is gone, a write under way is finished or undone.

        Answers the ATS.
        """
        self._session = Session()
        for application in self._memories():
            application.recover()
        self._session.enter(self.master)
        return _ATS

    def tear(self, writes: int) -> None:
        """Let the power fail at the elementary write after `writes` more of them, once; `reset` brings it back.

        From then on `transmit` raises `CardGone`, as a reader does when the card left the field.
        """
        fuse = Fuse(writes)
        for application in self._memories():
            application.fuse = fuse

    def _memories(self) -> tuple[Application, ...]:
        return (*self.applications, self.master) if self.master else self.applications

    def transmit(self, command: bytes) -> bytes:
        """Answer one command APDU with response data and status word; any bytes are answered.

        Raises:
            CardGone: The card was torn (`tear`) and not reset since.
        """
        if self._session.lost:
            raise CardGone(command=command[:4].hex().upper())
        parsed = apdu.parse(command)
        if parsed is None:
            return status.WRONG_LENGTH
        handler = self._HANDLERS.get(parsed.ins)
        if handler is None:
            return status.WRONG_INS
        classes, serve = handler
        if parsed.cla not in classes:
            return status.WRONG_CLA
        if self.blocked:
            return status.NOT_SUPPORTED
        application = self._session.application
        if application is not None and application.block and parsed.ins != _INS_SELECT:
            if application.block is Block.FOR_EVER:
                return status.BLOCKED_FOR_EVER
            if parsed.ins not in _WHILE_BLOCKED:
                return status.NOT_SUPPORTED
        try:
            answer = serve(self, parsed)
        except PowerLost:
            self._session.lost = True
            raise CardGone(command=command[:4].hex().upper()) from None
        if parsed.ins != _INS_CHALLENGE:
            # A challenge is good for the next command only.
            self._session.challenge = b""
        return answer

    __call__ = transmit

    def _select(self, command: Command) -> bytes:
        session = self._session
        session.pending = None
        if command.p1 == 0x04 and command.p2 == 0x00:
            return self._select_name(command.data)
        if command.p1 or command.p2:
            return status.WRONG_PARAMETERS
        if len(command.data) not in (0, 2):
            return status.WRONG_LENGTH
        fid = int.from_bytes(command.data, "big")
        if not command.data or fid == directory.FID_MASTER:
            return self._enter_master(directory.PSE_NAMES[0])
        for application in self.applications:
            if application.profile.fid == fid:
                return self._enter(application)
        spec = session.application.profile.file_of_fid(fid) if session.application else None
        if spec is None:
            return status.FILE_NOT_FOUND
        session.file = spec
        return status.OK

    def _select_name(self, name: bytes) -> bytes:
        for application in self.applications:
            if application.profile.aid == name:
                return self._enter(application)
        if name in directory.PSE_NAMES:
            return self._enter_master(name)
        if name == directory.PPSE_NAME:
            listed = [application.profile for application in self.applications if application.profile.in_ppse]
            if listed:
                self._session.enter(None)
                return directory.ppse_fci(listed) + status.OK
        return status.FILE_NOT_FOUND

    def _enter_master(self, name: bytes) -> bytes:
        self._session.enter(self.master)
        return directory.directory_fci(name) + status.OK

    def _enter(self, application: Application) -> bytes:
        self._session.enter(application)
        if application.block is Block.FOR_EVER:
            return status.BLOCKED_FOR_EVER
        if application.block:
            # It stays selected, or UNBLOCK could never reach it.
            return application.profile.blocked_status
        return directory.application_fci(application) + status.OK

    def _challenge(self, command: Command) -> bytes:
        self._session.pending = None
        if command.p1 or command.p2:
            return status.WRONG_PARAMETERS
        if command.data or command.le not in (4, 8):
            return status.WRONG_LENGTH
        self._session.challenge = self._random(command.le)
        return self._session.challenge + status.OK

    def _read_binary(self, command: Command) -> bytes:
        session = self._session
        session.pending = None
        application = session.application
        files = application.profile.files if application else directory.FILES
        spec, offset = file_commands.addressed(session, files, command)
        content = application.content(spec) if application and spec else b""
        return file_commands.read_binary(session, application, spec, content, offset, command)

    def _read_record(self, command: Command) -> bytes:
        session = self._session
        session.pending = None
        application = session.application
        spec = file_commands.record_file(
            session, application.profile.files if application else directory.FILES, command
        )
        content = self._records(application, spec) if spec else b""
        return file_commands.read_record(session, application, spec, content, command)

    def _records(self, application: Application | None, spec: FileSpec) -> Content:
        """Content of a record file; that of a directory's DIR file follows from what is on the card."""
        listing = application is None or application.profile.kind is not DirectoryKind.ADF
        if listing and spec.sfi == SFI_DIRECTORY and spec.kind is FileKind.RECORDS:
            of_ddf = application is not None and application.profile.kind is DirectoryKind.DDF
            parent = application.profile.aid if application is not None and of_ddf else b""
            return directory.entries(self.applications, parent)
        assert application is not None, "without a master file there is nothing but the DIR file"
        return application.content(spec)

    def _initialise(self, command: Command) -> bytes:
        self._session.pending = None
        application = self._session.application
        if application is None:
            return status.CONDITIONS
        # The random number is drawn only when it is needed: a refusal must not spend one.
        return purse_commands.initialise(self._session, application, command, self._random)

    def _cache_or_update_record(self, command: Command) -> bytes:
        session = self._session
        pending, session.pending = session.pending, None
        application = session.application
        if application is None:
            return status.CONDITIONS
        if command.cla == 0x80:
            return purse_commands.update_capp_cache(session, application, command, pending)
        return file_commands.update_record(session, application, command)

    def _block_card(self, command: Command) -> bytes:
        session = self._session
        session.pending = None
        if session.application is None:
            return status.CONDITIONS
        refusal = security_commands.card_block_refusal(session, session.application, command)
        if refusal:
            return refusal
        if session.application.fuse is not None:
            session.application.fuse.burn()
        self.blocked = True
        return status.OK

    # Instruction byte -> accepted class bytes, and who serves it.
    _HANDLERS: ClassVar[dict[int, tuple[tuple[int, ...], "_Serve"]]] = {
        _INS_SELECT: ((0x00,), _select),
        _INS_CHALLENGE: ((0x00,), _challenge),
        0xB0: ((PLAIN, PROTECTED), _read_binary),
        0xB2: ((PLAIN, PROTECTED), _read_record),
        0xD6: ((PLAIN, PROTECTED), _in_application(file_commands.update_binary)),
        _INS_CAPP_CACHE: ((PLAIN, PROTECTED, 0x80), _cache_or_update_record),
        0xE2: ((PLAIN, PROTECTED), _in_application(file_commands.append_record)),
        0x20: ((0x00,), _in_application(security_commands.verify_pin)),
        0x82: ((0x00,), _in_application(security_commands.external_authenticate)),
        0x88: ((0x00,), _in_application(security_commands.internal_authenticate)),
        0x5E: ((0x80,), _in_application(security_commands.change_or_reload_pin)),
        0x24: ((0x84,), _in_application(security_commands.unblock_pin)),
        0xD4: ((0x84,), _in_application(security_commands.write_key)),
        0x5C: ((0x80,), _in_application(purse_commands.get_balance)),
        0x50: ((0x80,), _initialise),
        0x52: ((0x80,), _completing(settle.credit_for_load)),
        0x54: ((0x80,), _completing(settle.debit)),
        0x58: ((0x80,), _completing(settle.update_overdraw_limit)),
        0x5A: ((0x80,), _in_application(purse_commands.get_transaction_prove)),
        0xCA: ((0x80,), _in_application(purse_commands.get_message)),
        _INS_BLOCK: ((0x84,), _in_application(security_commands.block_application)),
        _INS_UNBLOCK: ((0x84,), _in_application(security_commands.unblock_application)),
        0x16: ((0x84,), _block_card),
    }


_Serve = Callable[[VirtualCard, Command], bytes]
