"""Where the card is: on a PC/SC reader, or in a file of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.card import image
from edge.card.trace import Recorder
from libs.purse.readers.in_process import InProcessReader
from libs.purse.readers.pcsc import PcscService
from libs.purse.readers.port import Connection
from libs.purse.transceiver import Transceiver


@contextmanager
def connected(reader: str, card: Path | None) -> Iterator[Connection]:
    """A powered card; of a file, what it changed is written back at the end.

    Args:
        reader: Part of a PC/SC reader's name; empty for the first.
        card: File of a virtual card instead.

    Raises:
        ReaderUnknown, CardAbsent, CardBusy, ReaderServiceDown, ReaderSupportMissing: As the readers do.
        ImageMalformed: The file is no card.
    """
    if card is not None:
        virtual = image.load(card)
        with InProcessReader(virtual, card.name).connect() as connection:
            yield connection
        image.save(virtual, card)
        return
    service = PcscService()
    try:
        with service.reader(reader).connect() as connection:
            yield connection
    finally:
        service.close()


def recorded(connection: Connection, trace: Path | None) -> Transceiver:
    """The connection, with everything written down when a file is given."""
    return connection if trace is None else Recorder(connection, trace)
