"""A reader at the other end of a stream: the card lies on an outlet's desk, the logic runs in the centre (F16).

The desk only relays: `Desk.answer` turns one request into one answer, and understands nothing of the purse. The
centre holds a `RelayedReader`. Whatever carries the messages (a bidirectional RPC, a socket) hands them over as
bytes, one answer for each request, in order.

A message is: kind (1 byte), count (1), then for each part its length (2, most significant first) and its bytes.
Requests: CONNECT, RESET and CLOSE without parts; EXCHANGE with command APDUs, done in turn until one is refused.
Answers: DONE with the ATR, or with a response for each command that was done; FAILED with a reason and, if it
happened in the middle of an EXCHANGE, the responses up to there.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

from libs.errors import DomainError, InvalidInput
from libs.purse import status
from libs.purse.readers.base import BaseConnection
from libs.purse.readers.port import (
    CardAbsent,
    CardBusy,
    CardWasReset,
    Connection,
    Reader,
    ReaderLost,
    ReaderServiceDown,
    ReaderServiceLost,
    ReaderSupportMissing,
    ReaderUnknown,
)
from libs.purse.transceiver import CardGone, exchange

COMMANDS_MAX = 32
_PART_SIZE_MAX = 0xFFFF

Ask = Callable[[bytes], bytes]
"""Sends a request and returns its answer; raises OSError or TimeoutError when the stream is broken."""


class RelayMalformed(InvalidInput):
    """A message is not one of this protocol. Fact: `why`."""

    reason = "RELAY_MALFORMED"


class RelayLost(CardGone):
    """The stream to the desk broke, or the desk is silent: the card may or may not have obeyed."""

    reason = "RELAY_LOST"


class Kind(IntEnum):
    """First byte of a message."""

    CONNECT = 1
    EXCHANGE = 2
    RESET = 3
    CLOSE = 4
    DONE = 0x81
    FAILED = 0x82


class Message(NamedTuple):
    """A request or an answer.

    Attributes:
        kind: What it is.
        parts: Command APDUs, responses, or for FAILED the reason in ASCII and then responses.
    """

    kind: Kind
    parts: tuple[bytes, ...] = ()


# What a desk may report by its reason; anything else is a lost relay.
_FAILURES: dict[str, type[DomainError]] = {
    kind.reason: kind
    for kind in (
        CardGone,
        CardWasReset,
        ReaderLost,
        ReaderServiceLost,
        CardAbsent,
        CardBusy,
        ReaderUnknown,
        ReaderServiceDown,
        ReaderSupportMissing,
    )
}


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    assert len(message.parts) <= COMMANDS_MAX + 1, "a batch has an end"
    assert all(len(part) <= _PART_SIZE_MAX for part in message.parts), "a length has two bytes"
    head = bytes((message.kind, len(message.parts)))
    return head + b"".join(len(part).to_bytes(2, "big") + part for part in message.parts)


def decode(data: bytes) -> Message:
    """Inverse of `encode`.

    Raises:
        RelayMalformed: Not a message.
    """
    if len(data) < 2:
        raise RelayMalformed(why="too short")
    try:
        kind = Kind(data[0])
    except ValueError:
        raise RelayMalformed(why=f"unknown kind {data[0]}") from None
    if data[1] > COMMANDS_MAX + 1:
        raise RelayMalformed(why="too many parts")
    parts, at = [], 2
    for _ in range(data[1]):
        size = int.from_bytes(data[at : at + 2], "big")
        part = data[at + 2 : at + 2 + size]
        if len(data) < at + 2 or len(part) != size:
            raise RelayMalformed(why="a part is cut short")
        parts.append(part)
        at += 2 + size
    if at != len(data):
        raise RelayMalformed(why="bytes behind the last part")
    return Message(kind, tuple(parts))


class Desk:
    """The agent beside the reader: answers requests until the stream ends.

    Args:
        reader: Where the card lies.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._connection: Connection | None = None

    def answer(self, request: bytes) -> bytes:
        """One answer for one request; a request that is none is answered by FAILED, never by an exception."""
        done: list[bytes] = []
        try:
            message = decode(request)
            self._serve(message, done)
        except DomainError as error:
            return encode(Message(Kind.FAILED, (error.reason.encode(), *done)))
        return encode(Message(Kind.DONE, tuple(done)))

    def close(self) -> None:
        """The stream has ended: let go of the card."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _serve(self, message: Message, done: list[bytes]) -> None:
        if message.kind is Kind.CONNECT:
            self.close()
            self._connection = self._reader.connect()
            done.append(self._connection.atr)
        elif message.kind is Kind.CLOSE:
            self.close()
        elif message.kind is Kind.RESET:
            done.append(self._connected().reset())
        elif message.kind is Kind.EXCHANGE:
            connection = self._connected()
            for command in message.parts:
                # 61xx and 6Cxx are settled here: each would cost a way to the centre and back.
                data, word = exchange(connection, command)
                done.append(data + word)
                if word != status.OK:
                    return
        else:
            raise RelayMalformed(why=f"{message.kind.name} is no request")

    def _connected(self) -> Connection:
        if self._connection is None:
            raise CardAbsent(reader=self._reader.name)
        return self._connection


class RelayedReader:
    """The centre's view of a reader on a desk.

    Args:
        name: Of the outlet and desk, as people know it.
        ask: Carries a request there and its answer back.
    """

    def __init__(self, name: str, ask: Ask) -> None:
        self._name = name
        self._ask = ask

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    def connect(self) -> "RelayedConnection":
        """Power the card on the desk; raises as the desk's own reader does, and `RelayLost`."""
        answer = self.asked(Message(Kind.CONNECT), "connect")
        return RelayedConnection(self, answer[0] if answer else b"")

    def wait_for_card(self, timeout_s: float) -> bool:
        """Whether a card lies there now: the desk announces one by itself, so nothing is waited for."""
        try:
            self.connect().close()
        except CardAbsent:
            return False
        return True

    def asked(self, request: Message, command: str) -> tuple[bytes, ...]:
        """The parts of a good answer.

        Raises:
            DomainError: What the desk reports, with `done` responses before it.
            RelayLost: No answer, or one that makes no sense.
        """
        try:
            answer = decode(self._ask(encode(request)))
        except (OSError, RelayMalformed) as error:
            raise RelayLost(command=command, desk=self._name, why=str(error)) from error
        if answer.kind is Kind.DONE:
            return answer.parts
        reason = answer.parts[0].decode("ascii", "replace") if answer.parts else ""
        failure = _FAILURES.get(reason, RelayLost)
        raise failure(command=command, reader=self._name, why=reason, done=max(len(answer.parts) - 1, 0))


class RelayedConnection(BaseConnection):
    """A powered card on a desk."""

    def __init__(self, reader: RelayedReader, atr: bytes) -> None:
        self._reader = reader
        self._atr = atr
        self._open = True

    @property
    def atr(self) -> bytes:
        """Answer to reset."""
        return self._atr

    def transmit(self, command: bytes) -> bytes:
        """One exchange, one way there and back."""
        return self.transmit_all([command])[0]

    def transmit_all(self, commands: Sequence[bytes]) -> list[bytes]:
        """Several commands in one message: responses up to the first whose status word is not 9000, that one included.

        Raises:
            CardGone: And its kinds; how many commands were answered before is its fact `done`.
        """
        assert 1 <= len(commands) <= COMMANDS_MAX, "a batch has an end"
        shown = commands[0][:4].hex().upper()
        if not self._open:
            raise CardGone(command=shown, reader=self._reader.name)
        responses = self._reader.asked(Message(Kind.EXCHANGE, tuple(commands)), shown)
        if not responses or len(responses) > len(commands) or any(len(response) < 2 for response in responses):
            raise RelayLost(command=shown, desk=self._reader.name, why="another number of responses")
        return list(responses)

    def reset(self) -> bytes:
        """Power off and on."""
        answer = self._reader.asked(Message(Kind.RESET), "reset")
        self._atr = answer[0] if answer else b""
        return self._atr

    def close(self) -> None:
        """Let go of the card, if the desk can still be reached; if not, it lets go by itself when the stream ends."""
        if self._open:
            self._open = False
            try:
                self._reader.asked(Message(Kind.CLOSE), "close")
            except DomainError:
                return
