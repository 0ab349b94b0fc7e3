"""What every reader offers, and how each can fail.

What goes wrong while a command is under way is a kind of `CardGone`: the card may or may not have obeyed, and the
dialogues of `libs.purse.terminal` decide that as they decide any torn transaction. What goes wrong before is a
refusal of its own.
"""

from types import TracebackType
from typing import Protocol, Self

from libs.errors import NotFound, Refusal, Unavailable
from libs.purse.transceiver import CardGone


class ReaderUnknown(NotFound):
    """There is no reader of that name, or none at all. Facts: `reader`, `known`."""

    reason = "READER_UNKNOWN"


class CardAbsent(Refusal):
    """No card lies on the reader, or one that does not answer to its power. Fact: `reader`."""

    reason = "CARD_ABSENT"


class CardBusy(Refusal):
    """Another program holds the card. Fact: `reader`."""

    reason = "CARD_BUSY"


class ReaderServiceDown(Unavailable):
    """The reader service (pcscd) does not run or does not answer. Fact: `why`."""

    reason = "READER_SERVICE_DOWN"


class ReaderSupportMissing(Unavailable):
    """The software for this kind of reader is not installed. Fact: `needs`."""

    reason = "READER_SUPPORT_MISSING"


class ReaderLost(CardGone):
    """The reader was unplugged in the middle of an exchange."""

    reason = "READER_LOST"


class ReaderServiceLost(CardGone):
    """The reader service stopped in the middle of an exchange; connecting again works once it is back."""

    reason = "READER_SERVICE_LOST"


class CardWasReset(CardGone):
    """Another program reset the card: selection and transaction are gone, and it has not seen the command."""

    reason = "CARD_WAS_RESET"


class Connection(Protocol):
    """A powered card, ours until `close`. Also a `Transceiver`, and a context manager that closes."""

    @property
    def atr(self) -> bytes:
        """Answer to reset; tells nothing certain about the card (card-files.md, section 7)."""
        ...

    def transmit(self, command: bytes) -> bytes:
        """One exchange.

        Raises:
            CardGone: No answer; `ReaderLost`, `ReaderServiceLost` and `CardWasReset` say more where more is known.
        """
        ...

    def __call__(self, command: bytes) -> bytes:
        """The same."""
        ...

    def reset(self) -> bytes:
        """Take the power away and give it back; answers the ATR.

        Raises:
            CardGone: The card or the reader left.
        """
        ...

    def close(self) -> None:
        """Let go of the card; twice is once, and a card that left is let go as well."""
        ...

    def __enter__(self) -> Self:
        """Itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        ...


class Reader(Protocol):
    """A place where a card can lie."""

    @property
    def name(self) -> str:
        """As people tell readers apart."""
        ...

    def connect(self) -> Connection:
        """Power the card that lies there, for us alone.

        Raises:
            CardAbsent: There is none.
            CardBusy: Another program holds it.
            ReaderUnknown: The reader has gone.
            ReaderServiceDown: Its service has gone.
        """
        ...

    def wait_for_card(self, timeout_s: float) -> bool:
        """Wait until a card lies there; False when none came in time.

        Raises:
            ReaderUnknown: The reader has gone.
            ReaderServiceDown: Its service has gone.
        """
        ...
