"""A real pcscd with the virtual reader of Debian's vsmartcard-vpcd; installed here when it is missing."""

import time
from collections.abc import Callable, Iterator

import pytest

from libs.purse.readers.pcsc import PcscReader, PcscService
from libs.purse.readers.vpcd import EMPTY_S_MIN, Card, VirtualInsertion
from tools.devices import CannotInstall, Pcscd, running_pcscd

READER = "Virtual PCD 00 00"
Insert = Callable[[Card], VirtualInsertion]


@pytest.fixture(scope="session")
def pcscd() -> Iterator[Pcscd | None]:
    """Ours, or None when one ran already."""
    try:
        daemon = running_pcscd()
        value = daemon.__enter__()
    except CannotInstall as reason:
        pytest.skip(f"no PC/SC here: {reason}")
    yield value
    daemon.__exit__(None, None, None)


@pytest.fixture
def service(pcscd: Pcscd | None) -> Iterator[PcscService]:
    service = PcscService()
    yield service
    service.close()


@pytest.fixture
def reader(service: PcscService) -> PcscReader:
    return service.reader(READER)


def wait_until_empty(service: PcscService) -> None:
    """pcscd looks for cards a few times a second; the next card is not laid on before it saw the last one leave."""
    from smartcard.scard import SCARD_STATE_PRESENT

    until = time.monotonic() + 10
    while service.state(READER) & SCARD_STATE_PRESENT:
        assert time.monotonic() < until, "the reader should be empty"
        time.sleep(0.02)


@pytest.fixture
def insert(service: PcscService, reader: PcscReader) -> Iterator[Insert]:
    """Lays a card on the reader and waits until pcscd saw it; takes it away after the test."""
    laid: list[VirtualInsertion] = []

    def lay(card: Card) -> VirtualInsertion:
        for earlier in laid:
            earlier.remove()
        wait_until_empty(service)
        if laid:
            time.sleep(EMPTY_S_MIN)
        laid.append(VirtualInsertion(card))
        assert reader.wait_for_card(10)
        return laid[-1]

    yield lay
    for each in laid:
        each.remove()
    wait_until_empty(service)
    time.sleep(EMPTY_S_MIN)
