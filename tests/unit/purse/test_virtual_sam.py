"""The PSAM: refusals, its sequence, its lock."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.keystore import KeyUseForbidden, SoftKeyStore
from libs.keystore.dev import demo_keys
from libs.purse.sam import SamKey, SamKind, VirtualSam, issue_sam
from libs.purse.scheme import Scheme
from libs.purse.sequence import FileFailures, FileSequence, MemorySequence, SequenceStoreFailed

KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
TERMINAL = bytes.fromhex("990100000001")
FACTORS = "99010000000123459901FF0000000000"
INIT = "8070000024112233440000000000C806202501020809100100" + FACTORS + "08"


class BrokenSequence:
    def take(self) -> int | None:
        raise SequenceStoreFailed(file="sequence")


def a_sam(sequence: Any = None, **options: Any) -> VirtualSam:
    keys = [SamKey(SamKind.PURCHASE, KEY, levels=2), SamKey(SamKind.LOCK, KEY, levels=1)]
    return VirtualSam(TERMINAL, keys, sequence or MemorySequence(0x2A), **options)


def send(sam: VirtualSam, command: str) -> str:
    return sam.transmit(bytes.fromhex(command)).hex().upper()


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda data: b"\x80\x70\x00\x00" + data)))
def test_any_bytes_are_answered_by_a_status_word(command: bytes) -> None:
    assert len(a_sam().transmit(command)) >= 2


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("8071", "6700"),
        ("80710000", "6D00"),
        ("00700000", "6E00"),
        ("80700000", "6700"),
        ("807000001C" + "00" * 20 + "00" * 8, "9403"),
        ("807000001C" + "00" * 18 + "0100" + "00" * 8, "6A80"),
        ("8070000023" + "00" * 35, "6700"),
        (INIT.replace("0100" + FACTORS, "0200" + FACTORS), "9403"),
        (INIT.replace("0100" + FACTORS, "0104" + FACTORS), "9403"),
        ("807000002C" + "00" * 18 + "0100" + "00" * 24, "6A80"),
        ("807200000422DD3E85", "6901"),
        ("8072000003AABBCC", "6700"),
        ("801A220108" + "00" * 8, "6985"),
        ("801A250208" + "00" * 8, "9403"),
        ("801A450110" + "00" * 16, "6A80"),
        ("801A050100", "6700"),
        ("80FA000008" + "00" * 8, "6901"),
        ("80FA080008" + "00" * 8, "6A86"),
        ("00A40000021234", "6A82"),
        ("00B0990000", "6A82"),
        ("00B0960600", "6B00"),
        ("00B0960007", "6C06"),
    ],
)
def test_each_refusal_has_its_status_word_and_spends_no_number(command: str, status: str) -> None:
    sam = a_sam()
    assert send(sam, command) == status
    assert send(sam, INIT).startswith("0000002A")


def test_its_files_tell_module_terminal_and_application(city: Any) -> None:
    sam = VirtualSam(TERMINAL, [], MemorySequence(), number=bytes(range(10)), issuer=city.issuer)
    assert send(sam, "00A40000028011") == "9000"
    assert send(sam, "00B0950000") == "00010203040506070809010000009000"
    assert send(sam, "00B0960000") == "9901000000019000"
    assert send(sam, "00B0970009") == "01" + city.issuer.hex().upper() + "9000"


def test_mac2_is_checked_once_and_only_after_an_initialisation() -> None:
    sam = a_sam()
    assert send(sam, INIT) == "0000002ACD0C3E199000"
    assert send(sam, "807200000422DD3E85") == "9000"
    assert send(sam, "807200000422DD3E85") == "6901"


def test_every_initialisation_takes_a_new_number() -> None:
    sam = a_sam()
    assert [send(sam, INIT)[:8] for _ in range(3)] == ["0000002A", "0000002B", "0000002C"]


def test_too_many_wrong_mac2s_in_a_row_lock_the_module_and_power_does_not_unlock_it() -> None:
    sam = a_sam(wrong_mac2_max=3)
    for _ in range(3):
        send(sam, INIT)
        assert send(sam, "8072000004AABBCCDD") == "9302"
    assert sam.locked
    sam.reset()
    for command in (INIT, "807200000422DD3E85", "801A250108" + "00" * 8, "80FA000008" + "00" * 8):
        assert send(sam, command) == "6983"
    assert send(sam, "00B0960000") == "9901000000019000"


def test_the_lock_survives_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        sam = a_sam(wrong_mac2_max=2, failures=FileFailures(tmp_path / "failures"))
        send(sam, INIT)
        assert send(sam, "8072000004AABBCCDD") == "9302"
    again = a_sam(wrong_mac2_max=2, failures=FileFailures(tmp_path / "failures"))
    assert again.locked
    assert send(again, INIT) == "6983"


def test_a_count_that_cannot_be_written_is_a_memory_failure(tmp_path: Path) -> None:
    sam = a_sam(failures=FileFailures(tmp_path / "gone" / "failures"))
    send(sam, INIT)
    assert send(sam, "8072000004AABBCCDD") == "6581"


def test_a_right_mac2_writes_nothing_when_none_was_wrong(tmp_path: Path) -> None:
    sam = a_sam(failures=FileFailures(tmp_path / "failures"))
    send(sam, INIT)
    assert send(sam, "807200000422DD3E85") == "9000"
    assert not (tmp_path / "failures").exists()


def test_keys_are_chosen_by_version_and_level() -> None:
    keys = [SamKey(SamKind.PURCHASE, KEY, levels=levels, version=version) for levels in (1, 2, 3) for version in (1, 2)]
    keys.append(SamKey(SamKind.PURCHASE, KEY[::-1], levels=2, version=3))
    head, factors = "11223344000000000" + "0C8062025010208091", "9901000000012345" + "9901FF0000000000"
    sam = VirtualSam(TERMINAL, keys, MemorySequence(0x2A))
    assert send(sam, "8070000024" + head + "00100" + factors + "08") == "0000002ACD0C3E199000"
    made = {
        send(VirtualSam(TERMINAL, keys, MemorySequence(0x2A)), f"80700000{20 + 8 * levels:02X}" + head + "00100" + body)
        for levels, body in ((1, factors[:16]), (2, factors), (3, factors + "0101010101010101"))
    }
    assert len(made) == 3, "three levels, three card keys"
    other = send(VirtualSam(TERMINAL, keys, MemorySequence(0x2A)), "8070000024" + head + "00300" + factors)
    assert other not in made
    assert send(sam, "8070000024" + head + "00400" + factors) == "9403"


def test_a_right_mac2_forgives_wrong_ones() -> None:
    sam = a_sam(wrong_mac2_max=2)
    entry = "8070000024556677880001000000000920250102081500" + "0100" + FACTORS + "08"
    send(sam, INIT)
    assert send(sam, "8072000004AABBCCDD") == "9302"
    assert send(sam, entry) == "0000002BE67E578B9000"
    assert send(sam, "8072000004230E2E3C") == "9000"
    send(sam, INIT)
    assert send(sam, "8072000004AABBCCDD") == "9302"
    assert not sam.locked


def test_a_chained_mac_equals_the_one_made_at_once() -> None:
    blocks = bytes(range(32)).hex()
    sam = a_sam()
    init = "801A250108" + "00" * 8
    send(sam, init)
    whole = send(sam, "80FA050028" + "11" * 8 + blocks)
    send(sam, init)
    assert send(sam, "80FA070018" + "11" * 8 + blocks[:32]) == "9000"
    assert send(sam, "80FA010010" + blocks[32:]) == whole
    send(sam, init)
    assert send(sam, "80FA010020" + blocks) != whole, "without an IV the chain starts from zeros"


def test_an_exhausted_sequence_refuses() -> None:
    assert send(a_sam(MemorySequence(2**32)), INIT) == "9402"


def test_a_sequence_that_cannot_be_written_is_a_memory_failure() -> None:
    assert send(a_sam(BrokenSequence()), INIT) == "6581"


def test_numbers_survive_a_restart_and_none_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "sequence"
    taken: list[int | None] = []
    for _ in range(4):
        sequence = FileSequence(path, first=7, reserve=5)
        taken += [sequence.take() for _ in range(8)]
    numbers = [number for number in taken if number is not None]
    assert len(set(numbers)) == len(taken) == 32
    assert numbers == sorted(numbers)
    assert numbers[0] == 7


def test_a_number_is_on_disk_before_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "sequence"
    number = FileSequence(path, first=7, reserve=1).take()
    assert number is not None
    assert int(path.read_text()) > number


def test_a_sequence_file_without_a_number_stops_the_module(tmp_path: Path) -> None:
    path = tmp_path / "sequence"
    path.write_text("seven")
    with pytest.raises(SequenceStoreFailed):
        FileSequence(path)


def test_a_sequence_in_a_lost_folder_takes_no_number(tmp_path: Path) -> None:
    with pytest.raises(SequenceStoreFailed):
        FileSequence(tmp_path / "gone" / "sequence").take()


def test_real_master_keys_do_not_go_into_a_virtual_module(city: Any) -> None:
    store = SoftKeyStore(demo_keys("x", [(Scheme.CJ, city.issuer)]))
    with pytest.raises(KeyUseForbidden):
        issue_sam(store, Scheme.CJ, city.issuer, TERMINAL, MemorySequence())


def test_a_module_does_not_show_its_keys() -> None:
    assert KEY.hex() not in repr(a_sam()).lower()
    assert KEY.hex() not in repr(SamKey(SamKind.LOCK, KEY)).lower()
    assert repr(KEY) not in repr(SamKey(SamKind.LOCK, KEY))
