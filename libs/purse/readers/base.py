"""What all connections have in common."""

from types import TracebackType
from typing import Self


class BaseConnection:
    """Makes a `Transceiver` and a context manager of `transmit` and `close`."""

    def transmit(self, command: bytes) -> bytes:
        """One exchange."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the card."""
        raise NotImplementedError

    def __call__(self, command: bytes) -> bytes:
        """The same as `transmit`."""
        return self.transmit(command)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
