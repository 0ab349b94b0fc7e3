"""Result codes of PC/SC that no virtual reader can be brought to give: a scripted resource manager gives them."""

from typing import Any

import pytest

from libs.purse.readers import pcsc
from libs.purse.readers.pcsc import Change, PcscService, ReaderEvent
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


class Manager:
    """`smartcard.scard` with chosen answers. Numbers stand for themselves; only their being different matters."""

    SCARD_S_SUCCESS = 0
    SCARD_E_NO_SERVICE, SCARD_E_SERVICE_STOPPED, SCARD_E_INVALID_HANDLE, SCARD_F_COMM_ERROR = 1, 2, 3, 4
    SCARD_E_SHARING_VIOLATION, SCARD_E_UNKNOWN_READER, SCARD_E_READER_UNAVAILABLE = 5, 6, 7
    SCARD_E_NO_READERS_AVAILABLE, SCARD_W_RESET_CARD, SCARD_W_REMOVED_CARD, SCARD_W_UNPOWERED_CARD = 8, 9, 10, 11
    SCARD_F_INTERNAL_ERROR = 12
    SCARD_SCOPE_USER = SCARD_SHARE_EXCLUSIVE = SCARD_SHARE_SHARED = SCARD_UNPOWER_CARD = 0
    SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_PCI_T0, SCARD_PCI_T1 = 1, 2, 1, 2
    SCARD_STATE_UNAWARE, SCARD_STATE_EMPTY, SCARD_STATE_PRESENT = 0, 0x10, 0x20

    def __init__(self) -> None:
        self.readers = {"Reader A": False}
        self.establish = self.list = self.connect = self.transmit = self.status = 0
        self.contexts = 0

    def SCardEstablishContext(self, scope: int) -> tuple[int, int]:
        self.contexts += 1
        return self.establish, self.contexts

    def SCardReleaseContext(self, context: int) -> int:
        return 0

    def SCardListReaders(self, context: int, groups: list[str]) -> tuple[int, list[str]]:
        if self.list:
            return self.list, []
        return (0 if self.readers else self.SCARD_E_NO_READERS_AVAILABLE), list(self.readers)

    def SCardGetStatusChange(self, context: int, timeout: int, states: list[Any]) -> tuple[int, list[Any]]:
        name = states[0][0]
        if self.status:
            return self.status, []
        if name not in self.readers:
            return self.SCARD_E_UNKNOWN_READER, []
        return 0, [(name, 0x20 if self.readers[name] else 0x10, [])]

    def SCardConnect(self, context: int, name: str, share: int, protocols: int) -> tuple[int, int, int]:
        return self.connect, 77, self.SCARD_PROTOCOL_T1

    def SCardStatus(self, card: int) -> tuple[int, str, int, int, list[int]]:
        return 0, "", 0, 0, [0x3B, 0x00]

    def SCardTransmit(self, card: int, pci: int, command: list[int]) -> tuple[int, list[int]]:
        return self.transmit, [0x90, 0x00]

    def SCardReconnect(self, card: int, share: int, protocols: int, disposition: int) -> tuple[int, int]:
        return self.transmit, 2

    def SCardDisconnect(self, card: int, disposition: int) -> int:
        return 0

    def SCardGetErrorMessage(self, result: int) -> str:
        return f"code {result}"


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    manager = Manager()
    monkeypatch.setattr(pcsc, "_scard", lambda: manager)
    return manager


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Manager.SCARD_E_SHARING_VIOLATION, CardBusy),
        (Manager.SCARD_E_UNKNOWN_READER, ReaderUnknown),
        (Manager.SCARD_E_READER_UNAVAILABLE, ReaderUnknown),
        (Manager.SCARD_E_NO_SERVICE, ReaderServiceDown),
        (Manager.SCARD_E_INVALID_HANDLE, ReaderServiceDown),
        (Manager.SCARD_W_UNPOWERED_CARD, CardAbsent),
        (999, CardAbsent),
    ],
)
def test_connecting_fails_by_name(manager: Manager, code: int, error: type[Exception]) -> None:
    manager.connect = code
    with pytest.raises(error):
        PcscService().reader("Reader A").connect()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Manager.SCARD_E_READER_UNAVAILABLE, ReaderLost),
        (Manager.SCARD_E_UNKNOWN_READER, ReaderLost),
        (Manager.SCARD_W_RESET_CARD, CardWasReset),
        (Manager.SCARD_W_REMOVED_CARD, CardGone),
        (Manager.SCARD_F_COMM_ERROR, CardGone),
        (999, CardGone),
    ],
)
def test_an_exchange_fails_by_name_and_the_connection_is_over(manager: Manager, code: int, error: type) -> None:
    connection = PcscService().reader().connect()
    manager.transmit = code
    with pytest.raises(CardGone) as gone:
        connection.transmit(b"\x00\x84\x00\x00\x04")
    assert type(gone.value) is error
    manager.transmit = 0
    with pytest.raises(CardGone):
        connection.transmit(b"\x00\x84\x00\x00\x04")


def test_a_reader_unplugged_during_a_reset_is_lost(manager: Manager) -> None:
    connection = PcscService().reader().connect()
    manager.transmit = Manager.SCARD_E_READER_UNAVAILABLE
    with pytest.raises(ReaderLost):
        connection.reset()


def test_a_failure_with_a_dead_context_is_a_lost_service(manager: Manager) -> None:
    connection = PcscService().reader().connect()
    manager.transmit = manager.list = Manager.SCARD_E_NO_SERVICE
    with pytest.raises(ReaderServiceLost):
        connection.transmit(b"\x00\x84\x00\x00\x04")


def test_a_restarted_service_is_asked_through_a_new_context(manager: Manager) -> None:
    service = PcscService()
    service.readers()
    manager.list = Manager.SCARD_E_INVALID_HANDLE
    with pytest.raises(ReaderServiceDown):
        service.readers()
    manager.list = 0
    assert [reader.name for reader in service.readers()] == ["Reader A"]
    assert manager.contexts >= 3


def test_a_service_that_does_not_run_is_down(manager: Manager) -> None:
    manager.establish = Manager.SCARD_E_NO_SERVICE
    with pytest.raises(ReaderServiceDown) as down:
        PcscService().readers()
    assert down.value.facts["why"] == "code 1"


def test_readers_and_cards_that_come_and_go_are_told_in_order(manager: Manager) -> None:
    service = PcscService()
    assert service.watch(0) == [ReaderEvent(Change.READER_ADDED, "Reader A")]
    manager.readers["Reader B"] = True
    assert service.watch(0) == [
        ReaderEvent(Change.READER_ADDED, "Reader B"),
        ReaderEvent(Change.CARD_INSERTED, "Reader B"),
    ]
    del manager.readers["Reader B"]
    assert service.watch(0) == [
        ReaderEvent(Change.CARD_REMOVED, "Reader B"),
        ReaderEvent(Change.READER_REMOVED, "Reader B"),
    ]
    assert service.watch(0) == []


def test_waiting_at_a_reader_that_was_unplugged_says_so(manager: Manager) -> None:
    reader = PcscService().reader("Reader A")
    assert not reader.wait_for_card(0)
    manager.readers = {}
    with pytest.raises(ReaderUnknown):
        reader.wait_for_card(0)


def test_an_answer_without_a_status_word_is_a_card_that_left(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = PcscService().reader().connect()
    monkeypatch.setattr(manager, "SCardTransmit", lambda *_: (0, []))
    with pytest.raises(CardGone):
        connection.transmit(b"\x00\x84\x00\x00\x04")


def test_without_pyscard_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "smartcard", None)
    with pytest.raises(ReaderSupportMissing) as missing:
        PcscService()
    assert "pcsc" in missing.value.facts["needs"]
