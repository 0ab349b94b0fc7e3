"""The card's end of the virtual reader vsmartcard-vpcd: a virtual card for every PC/SC program of this machine.

The driver in pcscd listens on a TCP port; the card connects to it. Each message is a 2-byte length, most significant
byte first, and that many bytes. A message of one byte commands the power: 0 off, 1 on, 2 reset, 4 send the ATR. Any
other is a command APDU, answered by a response in the same form.

The driver sends length and body by two calls, so that with Nagle's algorithm the second waits for our acknowledgement
of the first, which Linux delays by 40 ms: 88 ms for a purchase of two exchanges, measured, against 0.3 ms.
`TCP_QUICKACK` acknowledges at once; the kernel clears it again, hence after every receive.
"""

import contextlib
import socket
import threading
from typing import Protocol

from libs.purse.readers.port import ReaderServiceDown
from libs.purse.transceiver import CardGone

PORT = 0x8C7B  # of the first slot; the second slot listens on the next
# pcscd asks for presence in this rhythm. Another card laid on before it saw the first one leave may stay unseen for
# ever.
EMPTY_S_MIN = 0.6
_OFF, _ON, _RESET, _ATR = 0, 1, 2, 4
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)


class Card(Protocol):
    """What is put on the reader."""

    @property
    def atr(self) -> bytes:
        """Answer to reset."""
        ...

    def transmit(self, command: bytes) -> bytes:
        """One exchange."""
        ...

    def reset(self) -> bytes:
        """Power lost and found."""
        ...


class VirtualInsertion:
    """A card that lies on the virtual reader until `remove`; a context manager that removes it.

    Args:
        card: Any thread may have made it; from here on the thread of the insertion speaks to it.
        port: Of the slot.
        host: Where pcscd runs.
        timeout_s: For connecting.

    Raises:
        ReaderServiceDown: pcscd does not run with the driver, or a card lies there already.
    """

    def __init__(self, card: Card, *, port: int = PORT, host: str = "127.0.0.1", timeout_s: float = 5.0) -> None:
        self._card = card
        try:
            self._socket = socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise ReaderServiceDown(why=f"{host}:{port}: {error}") from error
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._serve, name="virtual-card", daemon=True)
        self._thread.start()

    @property
    def present(self) -> bool:
        """Whether the card still lies there: False once it was removed or pcscd stopped."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the card is removed or pcscd stops; False when neither came in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def remove(self) -> None:
        """Take the card away."""
        with contextlib.suppress(OSError):
            # Wakes the thread out of its receive; the driver may have closed already.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> "VirtualInsertion":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _serve(self) -> None:
        try:
            while True:
                message = self._received()
                if message is None:
                    return
                self._answer(message)
        except (OSError, CardGone):
            # The driver has gone, or the card was torn by its owner: either way nothing lies there any more.
            self._card.reset()
        finally:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _answer(self, message: bytes) -> None:
        if len(message) != 1:
            self._send(self._card.transmit(message))
        elif message[0] in (_OFF, _ON, _RESET):
            self._card.reset()
        elif message[0] == _ATR:
            self._send(self._card.atr)

    def _send(self, body: bytes) -> None:
        self._socket.sendall(len(body).to_bytes(2, "big") + body)

    def _received(self) -> bytes | None:
        head = self._exactly(2)
        return self._exactly(int.from_bytes(head, "big")) if head else None

    def _exactly(self, size: int) -> bytes | None:
        """That many bytes; None at the end of the stream."""
        parts = b""
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                return None
            if _QUICK_ACK is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
            parts += part
        return parts
