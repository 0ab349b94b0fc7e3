"""One exchange with a card or module, whatever carries it (purse-protocol.md, section 1)."""

from collections.abc import Callable

from libs.errors import Refusal
from libs.purse import status

Transceiver = Callable[[bytes], bytes]
"""Sends a command APDU and returns the response with its status word; raises `CardGone` when no answer came."""

_CHAINED_RESPONSES_MAX = 16


class CardGone(Refusal):
    """The card left the field, or the reader was lost: the command may or may not have been executed."""

    reason = "CARD_GONE"


class CardRefused(Refusal):
    """A card or module answered with another status word than 9000; the facts say to what, and what it means."""

    reason = "CARD_REFUSED"

    @property
    def status(self) -> bytes:
        """The status word."""
        return bytes.fromhex(self.facts["status"])


def exchange(transceiver: Transceiver, command: bytes) -> tuple[bytes, bytes]:
    """Data and status word of one command.

    61xx is followed by GET RESPONSE and 6Cxx repeats the command with the right Le, so that contact and contactless
    cards look alike.

    Raises:
        CardGone: No answer, or one without a status word.
    """
    answer = _answered(transceiver, command)
    if answer[-2] == 0x6C and len(answer) == 2:
        # A command that carried an Le gets the right one in its place; a case 1 or 3 command is simply longer by it.
        has_le = len(command) == 5 or (len(command) > 5 and len(command) == 6 + command[4])
        answer = _answered(transceiver, (command[:-1] if has_le else command) + answer[-1:])
    data, word = answer[:-2], answer[-2:]
    for _ in range(_CHAINED_RESPONSES_MAX):
        if word[0] != 0x61:
            break
        answer = _answered(transceiver, b"\x00\xc0\x00\x00" + word[1:])
        data, word = data + answer[:-2], answer[-2:]
    return data, word


def demand(transceiver: Transceiver, command: bytes, *, size: int | None = None) -> bytes:
    """Data of one command that must succeed.

    Args:
        transceiver: Card or module.
        command: Command APDU.
        size: How many bytes of data are expected; None accepts any.

    Raises:
        CardGone: No answer.
        CardRefused: Another status word than 9000, or another number of bytes.
    """
    data, word = exchange(transceiver, command)
    if word != status.OK or (size is not None and len(data) != size):
        raise refused(command, word, len(data))
    return data


def refused(command: bytes, word: bytes, size: int = 0) -> CardRefused:
    """The error for a status word, or for an answer of `size` bytes that should have had another size."""
    return CardRefused(
        command=command[:4].hex().upper(), status=word.hex().upper(), meaning=status.meaning(word)[1], size=size
    )


def _answered(transceiver: Transceiver, command: bytes) -> bytes:
    answer = transceiver(command)
    if len(answer) < 2:
        raise CardGone(command=command[:4].hex().upper())
    return answer
