"""A reader in this process, for virtual cards: laid on, taken away and held as a real one is."""

import threading

from libs.purse.card import VirtualCard
from libs.purse.readers.base import BaseConnection
from libs.purse.readers.port import CardAbsent, CardBusy
from libs.purse.transceiver import CardGone


class InProcessReader:
    """A place for one virtual card.

    Args:
        card: Lies there already; None for an empty reader.
        name: As a PC/SC reader has one.
    """

    def __init__(self, card: VirtualCard | None = None, name: str = "in process") -> None:
        self._name = name
        self._card = card
        self._connection: InProcessConnection | None = None
        self._changed = threading.Condition()

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    def insert(self, card: VirtualCard) -> None:
        """Lay a card on the reader; one that lies there is taken away."""
        self.remove()
        with self._changed:
            self._card = card
            self._changed.notify_all()

    def remove(self) -> None:
        """Take the card away: its connection is dead from here on."""
        with self._changed:
            self._card = None
            self._connection = None

    def connect(self) -> "InProcessConnection":
        """Power the card; raises `CardAbsent` and `CardBusy`."""
        with self._changed:
            if self._card is None:
                raise CardAbsent(reader=self._name)
            if self._connection is not None:
                raise CardBusy(reader=self._name)
            self._card.reset()
            self._connection = InProcessConnection(self, self._card)
            return self._connection

    def wait_for_card(self, timeout_s: float) -> bool:
        """Wait until a card lies there."""
        with self._changed:
            return self._changed.wait_for(lambda: self._card is not None, timeout_s)

    def holds(self, connection: "InProcessConnection") -> bool:
        """Whether that connection is the one in force."""
        return self._connection is connection

    def let_go(self, connection: "InProcessConnection") -> None:
        """End a connection; what `InProcessConnection.close` calls."""
        with self._changed:
            if self._connection is connection:
                self._connection = None


class InProcessConnection(BaseConnection):
    """A powered virtual card."""

    def __init__(self, reader: InProcessReader, card: VirtualCard) -> None:
        self._reader = reader
        self._card = card

    @property
    def atr(self) -> bytes:
        """Answer to reset."""
        return self._card.atr

    def transmit(self, command: bytes) -> bytes:
        """One exchange; raises `CardGone` once the card was taken away or let go."""
        if not self._reader.holds(self):
            raise CardGone(command=command[:4].hex().upper())
        return self._card.transmit(command)

    def reset(self) -> bytes:
        """Power off and on."""
        if not self._reader.holds(self):
            raise CardGone(command="reset")
        self._card.reset()
        return self._card.atr

    def close(self) -> None:
        """Let go of the card."""
        self._reader.let_go(self)
