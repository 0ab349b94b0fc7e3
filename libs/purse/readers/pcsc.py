"""Real readers through PC/SC: pyscard over pcscd (extra `pcsc`).

The low-level interface of pyscard is used, not its card monitor: every call returns its own error code, and no thread
of its own runs behind our back. All calls block; an event loop calls them in a thread.
"""

import time
from dataclasses import dataclass
from enum import Enum
from typing import Any

from libs.purse.readers.base import BaseConnection
from libs.purse.readers.port import (
    CardAbsent,
    CardBusy,
    CardWasReset,
    ReaderLost,
    ReaderServiceDown,
    ReaderServiceLost,
    ReaderSupportMissing,
    ReaderUnknown,
)
from libs.purse.transceiver import CardGone

_PNP = "\\\\?PnP?\\Notification"
# How long one wait for a change blocks at most: a service that stopped is noticed by the next call, not by this one.
_SLICE_MS_MAX = 1000
_STATUS_WORD_SIZE = 2


def _scard() -> Any:
    """The module `smartcard.scard`; it is not typed.

    Raises:
        ReaderSupportMissing: It is not installed, or libpcsclite is not.
    """
    try:
        from smartcard import scard
    except ImportError as error:
        raise ReaderSupportMissing(needs="pip install citycard[pcsc]", why=str(error)) from error
    return scard


class Change(Enum):
    """What can happen at a reader."""

    READER_ADDED = "reader added"
    READER_REMOVED = "reader removed"
    CARD_INSERTED = "card inserted"
    CARD_REMOVED = "card removed"


@dataclass(frozen=True, slots=True)
class ReaderEvent:
    """One change.

    Attributes:
        change: What.
        reader: Name of the reader.
    """

    change: Change
    reader: str


class PcscService:
    """The resource manager of this machine. One object may be used over restarts of pcscd: it connects anew."""

    def __init__(self) -> None:
        self._scard = _scard()
        self._context: Any = None
        self._known: dict[str, bool] = {}

    def readers(self) -> tuple["PcscReader", ...]:
        """All readers, in the order of pcscd.

        Raises:
            ReaderServiceDown: pcscd does not answer.
        """
        return tuple(PcscReader(self, name) for name in self._names())

    def reader(self, name: str = "") -> "PcscReader":
        """The reader whose name contains `name`; the first one when it is empty.

        Raises:
            ReaderUnknown: There is none.
            ReaderServiceDown: pcscd does not answer.
        """
        names = self._names()
        for each in names:
            if name in each:
                return PcscReader(self, each)
        raise ReaderUnknown(reader=name, known=", ".join(names))

    def watch(self, timeout_s: float) -> list[ReaderEvent]:
        """What changed since the last call: readers plugged in and out, cards laid on and taken away.

        The first call reports everything that is there. An empty list means that nothing changed in time.

        Raises:
            ReaderServiceDown: pcscd does not answer; call again, it may come back.
        """
        until = time.monotonic() + timeout_s
        while True:
            events = self._changes()
            left_s = until - time.monotonic()
            if events or left_s <= 0:
                return events
            self._wait(list(self._known), left_s, self._known)

    def context(self) -> Any:
        """A context that works: the one we have, or a new one after a restart of pcscd.

        Raises:
            ReaderServiceDown: pcscd does not answer.
        """
        if self._context is not None:
            return self._context
        scard = self._scard
        result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
        if result != scard.SCARD_S_SUCCESS:
            self._context = None
            raise ReaderServiceDown(why=scard.SCardGetErrorMessage(result))
        self._context = context
        return context

    def is_alive(self) -> bool:
        """Whether pcscd still answers to our context."""
        if self._context is None:
            return False
        result, _ = self._scard.SCardListReaders(self._context, [])
        return result not in _service_gone(self._scard)

    def forget_context(self) -> None:
        """The context is known to be dead."""
        self._context = None

    def close(self) -> None:
        """Release the context; the object can be used again."""
        if self._context is not None:
            self._scard.SCardReleaseContext(self._context)
            self._context = None

    def state(self, name: str) -> int:
        """State bits of a reader.

        Raises:
            ReaderUnknown: It has gone.
            ReaderServiceDown: pcscd does not answer.
        """
        scard = self._scard
        result, states = self._asked(
            lambda context: scard.SCardGetStatusChange(context, 0, [(name, scard.SCARD_STATE_UNAWARE)])
        )
        if result != scard.SCARD_S_SUCCESS:
            raise ReaderUnknown(reader=name, known=", ".join(self._names()))
        state: int = states[0][1]
        return state

    def wait_for_change(self, name: str, present: bool, timeout_s: float) -> None:
        """Block until the reader, which has or has not a card now, changes, or the time is over."""
        self._wait([name], timeout_s, {name: present})

    def _names(self) -> list[str]:
        scard = self._scard
        result, names = self._asked(lambda context: scard.SCardListReaders(context, []))
        return list(names) if result == scard.SCARD_S_SUCCESS else []

    def _asked(self, ask: Any) -> tuple[int, Any]:
        """Result of a call; a dead context is replaced once, for pcscd may have been restarted since.

        Raises:
            ReaderServiceDown: pcscd does not answer.
        """
        scard = self._scard
        gone = _service_gone(scard)
        for _ in range(2):
            result, *rest = ask(self.context())
            if result not in gone:
                return result, rest[0] if rest else None
            self.forget_context()
        raise ReaderServiceDown(why=scard.SCardGetErrorMessage(result))

    def _changes(self) -> list[ReaderEvent]:
        scard = self._scard
        now: dict[str, bool] = {}
        for name in self._names():
            try:
                now[name] = bool(self.state(name) & scard.SCARD_STATE_PRESENT)
            except ReaderUnknown:
                # Unplugged between the two questions.
                continue
        events = [ReaderEvent(Change.READER_ADDED, name) for name in now if name not in self._known]
        for name, was in self._known.items():
            if was and not now.get(name, False):
                events.append(ReaderEvent(Change.CARD_REMOVED, name))
            if name not in now:
                events.append(ReaderEvent(Change.READER_REMOVED, name))
        events += [
            ReaderEvent(Change.CARD_INSERTED, name) for name, here in now.items() if here and not self._known.get(name)
        ]
        self._known = now
        return events

    def _wait(self, names: list[str], timeout_s: float, present: dict[str, bool]) -> None:
        scard = self._scard
        states = [(name, scard.SCARD_STATE_PRESENT if present.get(name) else scard.SCARD_STATE_EMPTY) for name in names]
        states.append((_PNP, len(names) << 16))
        timeout_ms = min(int(timeout_s * 1000), _SLICE_MS_MAX)
        self._asked(lambda context: scard.SCardGetStatusChange(context, timeout_ms, states))


def _service_gone(scard: Any) -> frozenset[int]:
    """Codes that say that pcscd, or our tie to it, is gone."""
    return frozenset(
        {
            scard.SCARD_E_NO_SERVICE,
            scard.SCARD_E_SERVICE_STOPPED,
            scard.SCARD_E_INVALID_HANDLE,
            scard.SCARD_F_COMM_ERROR,
            scard.SCARD_F_INTERNAL_ERROR,
        }
    )


class PcscReader:
    """One reader of the resource manager."""

    def __init__(self, service: PcscService, name: str) -> None:
        self._service = service
        self._name = name

    @property
    def name(self) -> str:
        """As pcscd names it."""
        return self._name

    def connect(self, *, exclusive: bool = True) -> "PcscConnection":
        """Power the card.

        Args:
            exclusive: Nobody else may speak to it. Programs that only look may share; whoever moves money must not.

        Raises:
            CardAbsent: There is none, or it does not answer to its power.
            CardBusy: Another program holds it.
            ReaderUnknown: The reader has gone.
            ReaderServiceDown: pcscd does not answer.
        """
        scard = _scard()
        share = scard.SCARD_SHARE_EXCLUSIVE if exclusive else scard.SCARD_SHARE_SHARED
        protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        for attempt in range(2):
            result, card, protocol = scard.SCardConnect(self._service.context(), self._name, share, protocols)
            if result == scard.SCARD_S_SUCCESS:
                return PcscConnection(self._service, scard, self._name, card, protocol, share)
            if result not in _service_gone(scard):
                break
            self._service.forget_context()
            if attempt:
                raise ReaderServiceDown(why=scard.SCardGetErrorMessage(result))
        if result == scard.SCARD_E_SHARING_VIOLATION:
            raise CardBusy(reader=self._name)
        if result in (
            scard.SCARD_E_UNKNOWN_READER,
            scard.SCARD_E_READER_UNAVAILABLE,
            scard.SCARD_E_NO_READERS_AVAILABLE,
        ):
            raise ReaderUnknown(reader=self._name, known="")
        raise CardAbsent(reader=self._name, why=scard.SCardGetErrorMessage(result))

    def wait_for_card(self, timeout_s: float) -> bool:
        """Wait until a card lies there; raises as `connect` does for reader and service."""
        scard = _scard()
        until = time.monotonic() + timeout_s
        while True:
            present = bool(self._service.state(self._name) & scard.SCARD_STATE_PRESENT)
            left_s = until - time.monotonic()
            if present or left_s <= 0:
                return present
            self._service.wait_for_change(self._name, present, left_s)


class PcscConnection(BaseConnection):
    """A powered card on a PC/SC reader."""

    def __init__(self, service: PcscService, scard: Any, reader: str, card: Any, protocol: int, share: int) -> None:
        self._service = service
        self._scard = scard
        self._reader = reader
        self._card: Any = card
        self._share = share
        self._pci = scard.SCARD_PCI_T1 if protocol == scard.SCARD_PROTOCOL_T1 else scard.SCARD_PCI_T0
        self._atr = self._read_atr()

    @property
    def atr(self) -> bytes:
        """Answer to reset, as the reader reports it."""
        return self._atr

    def transmit(self, command: bytes) -> bytes:
        """One exchange; raises a kind of `CardGone` when no answer came."""
        if self._card is None:
            raise CardGone(command=command[:4].hex().upper(), reader=self._reader)
        result, response = self._scard.SCardTransmit(self._card, self._pci, list(command))
        if result != self._scard.SCARD_S_SUCCESS:
            raise self._gone(result, command[:4].hex().upper())
        if len(response) < _STATUS_WORD_SIZE:
            # Some drivers report a card that left as an exchange that went well, and brought nothing.
            self.close()
            raise CardGone(command=command[:4].hex().upper(), reader=self._reader)
        return bytes(response)

    def reset(self) -> bytes:
        """Power off and on."""
        scard = self._scard
        if self._card is None:
            raise CardGone(command="reset", reader=self._reader)
        protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        result, _ = scard.SCardReconnect(self._card, self._share, protocols, scard.SCARD_UNPOWER_CARD)
        if result != scard.SCARD_S_SUCCESS:
            raise self._gone(result, "reset")
        self._atr = self._read_atr()
        return self._atr

    def close(self) -> None:
        """Take the power off the card, so that the next program finds it as if just laid on."""
        card, self._card = self._card, None
        if card is not None:
            self._scard.SCardDisconnect(card, self._scard.SCARD_UNPOWER_CARD)

    def _read_atr(self) -> bytes:
        result, *rest = self._scard.SCardStatus(self._card)
        return bytes(rest[-1]) if result == self._scard.SCARD_S_SUCCESS else b""

    def _gone(self, result: int, command: str) -> CardGone:
        """The error for a result; the handle is given up, what it stood for is no more."""
        scard = self._scard
        facts = {"command": command, "reader": self._reader, "why": scard.SCardGetErrorMessage(result)}
        kind: type[CardGone] = CardGone
        if result == scard.SCARD_W_RESET_CARD:
            kind = CardWasReset
        elif result in (scard.SCARD_E_READER_UNAVAILABLE, scard.SCARD_E_UNKNOWN_READER):
            kind = ReaderLost
        elif result in _service_gone(scard) and not self._service.is_alive():
            # A call may fail so for a card that left as well; only a context that is dead too tells a lost service.
            self._service.forget_context()
            kind = ReaderServiceLost
        self.close()
        return kind(**facts)
