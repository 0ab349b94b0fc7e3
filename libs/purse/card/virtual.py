"""`VirtualCard`: APDU bytes in, response bytes and status word out, never an exception."""

import os
from collections.abc import Callable, Sequence
from typing import ClassVar

from libs.purse import apdu, status
from libs.purse.apdu import Command
from libs.purse.card import directory, file_commands, purse_commands, security_commands
from libs.purse.card.files import FileSpec
from libs.purse.card.session import Session
from libs.purse.card.state import Application, Block

Random = Callable[[int], bytes]

_INS_VERIFY, _INS_CHALLENGE, _INS_SELECT = 0x20, 0x84, 0xA4
_INS_CREDIT, _INS_DEBIT, _INS_CAPP_CACHE = 0x52, 0x54, 0xDC
_INS_BLOCK, _INS_UNBLOCK = 0x1E, 0x18
# What a reversibly blocked application still answers; one that is blocked for ever answers SELECT alone, with 9303.
_WHILE_BLOCKED = frozenset({_INS_SELECT, _INS_CHALLENGE, _INS_BLOCK, _INS_UNBLOCK})
# Sample answer to select of an FM1208 (card-files.md, section 7); do not identify cards by it.
_ATS = bytes.fromhex("107880900220900000000000" + "66799D24")


_InApplication = Callable[[Session, Application, Command], bytes]


def _in_application(serve: _InApplication) -> "_Serve":
    """A command that any selected application answers, and that ends a transaction under way."""

    def served(self: "VirtualCard", command: Command) -> bytes:
        session = self._session
        session.pending = None
        if session.application is None:
            return status.CONDITIONS
        return serve(session, session.application, command)

    return served


class VirtualCard:
    """A contactless CPU card with one or more applications.

    Attributes:
        applications: What the card keeps, in directory order.
        blocked: CARD BLOCK was accepted; only the memory is left.
    """

    __slots__ = ("_random", "_session", "applications", "blocked")

    def __init__(self, applications: Sequence[Application], random: Random = os.urandom) -> None:
        self.applications = tuple(applications)
        self.blocked = False
        self._random = random
        self._session = Session()

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
        """Power lost and found again: everything volatile is gone. Answers the ATS."""
        self._session = Session()
        return _ATS

    def transmit(self, command: bytes) -> bytes:
        """Answer one command APDU with response data and status word; any bytes are answered."""
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
        answer = serve(self, parsed)
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
        if fid in (0, directory.FID_MASTER):
            session.enter(None)
            return directory.pse_fci() + status.OK
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
            self._session.enter(None)
            return directory.pse_fci(name) + status.OK
        if name == directory.PPSE_NAME:
            listed = [application.profile for application in self.applications if application.profile.in_ppse]
            if listed:
                self._session.enter(None)
                return directory.ppse_fci(listed) + status.OK
        return status.FILE_NOT_FOUND

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
        return file_commands.read_binary(spec, content, offset, command)

    def _read_record(self, command: Command) -> bytes:
        session = self._session
        session.pending = None
        application = session.application
        spec: FileSpec | None
        if application:
            spec = application.profile.files.get(command.p2 >> 3)
            return file_commands.read_record(spec, application.content(spec) if spec else b"", command)
        spec = directory.FILES.get(command.p2 >> 3)
        entries = directory.entries([application.profile for application in self.applications])
        return file_commands.read_record(spec, entries, command)

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

    def _credit(self, command: Command) -> bytes:
        session = self._session
        pending, session.pending = session.pending, None
        if session.application is None:
            return status.CONDITIONS
        return purse_commands.credit_for_load(session, session.application, command, pending)

    def _debit(self, command: Command) -> bytes:
        session = self._session
        pending, session.pending = session.pending, None
        if session.application is None:
            return status.CONDITIONS
        return purse_commands.debit(session, session.application, command, pending)

    def _block_card(self, command: Command) -> bytes:
        session = self._session
        session.pending = None
        if session.application is None:
            return status.CONDITIONS
        refusal = security_commands.card_block_refusal(session, session.application, command)
        if refusal:
            return refusal
        self.blocked = True
        return status.OK

    # Instruction byte -> accepted class bytes, and who serves it.
    _HANDLERS: ClassVar[dict[int, tuple[tuple[int, ...], "_Serve"]]] = {
        _INS_SELECT: ((0x00,), _select),
        _INS_CHALLENGE: ((0x00,), _challenge),
        0xB0: ((0x00, 0x04), _read_binary),
        0xB2: ((0x00, 0x04), _read_record),
        0xD6: ((0x00, 0x04), _in_application(file_commands.update_binary)),
        _INS_CAPP_CACHE: ((0x00, 0x04, 0x80), _cache_or_update_record),
        _INS_VERIFY: ((0x00,), _in_application(security_commands.verify_pin)),
        0x5C: ((0x80,), _in_application(purse_commands.get_balance)),
        0x50: ((0x80,), _initialise),
        _INS_CREDIT: ((0x80,), _credit),
        _INS_DEBIT: ((0x80,), _debit),
        0x5A: ((0x80,), _in_application(purse_commands.get_transaction_prove)),
        _INS_BLOCK: ((0x84,), _in_application(security_commands.block_application)),
        _INS_UNBLOCK: ((0x84,), _in_application(security_commands.unblock_application)),
        0x16: ((0x84,), _block_card),
    }


_Serve = Callable[[VirtualCard, Command], bytes]
