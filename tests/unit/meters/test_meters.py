"""Meter frames: each fault by its name, each value in its unit, and the way into a record and back.

The frames below are built from what the standards say (layout, sum, 33H, digits with the low byte first), byte by byte
where a reader should be able to check them by hand. The frames of real meters beside the project are run when present.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.clock import CITY_TZ
from libs.meters import cjt188, dlt645
from libs.meters.cjt188 import UtilityFrame, parse_utility
from libs.meters.dlt645 import ANY_METER, BROADCAST, Edition, ElectricityFrame, parse_electricity
from libs.meters.errors import (
    AddressOpen,
    AddressWrong,
    ChecksumWrong,
    ControlWrong,
    DataLengthWrong,
    DigitsWrong,
    EndWrong,
    FrameCut,
    FrameOverlong,
    FrameRefused,
    MeterSaidNo,
    MeterTypeWrong,
    NotAReading,
    RecordMismatch,
    StartWrong,
    UnitWrong,
    ValueLengthWrong,
)
from libs.meters.octets import checksum, packed_digits
from libs.meters.reading import Quantity, Unit, Utility, measured_electricity, measured_volume
from libs.meters.record import MeterRead, ReaderFacts, combine, from_records, to_records
from libs.records.errors import TimeInvalid
from libs.records.otr import check_format

_BESIDE = Path(__file__).parents[4] / "shared" / "data"
_GIVEN = os.environ.get("CITYCARD_DATA")
# The variable names the transactions, two folders below the data.
_FRAMES = (Path(_GIVEN).parents[1] if _GIVEN else _BESIDE) / "meter_frames" / "frames.json"

NOON = datetime(2025, 9, 1, 12, tzinfo=CITY_TZ)
READER = ReaderFacts("030000000001", "11025840", "5840", 12, 900)

# Address 000000000123, read answer (91), 8 bytes: 00010000 with the low byte first, then 12345.67 kWh; all plus 33H.
POWER = bytes.fromhex("68 230100000000 68 91 08 33333433 9A785634 F6 16".replace(" ", ""))
# Cold water meter 00000000000042, answer 81, 22 bytes: 901F, serial 07, 123.45 m3, 120.00 m3, 2025-09-01 12:00:05, 0.
WATER_DATA = bytes.fromhex("901F 07 45230100 2C 00200100 2C 05001201092520 0000".replace(" ", ""))
_WATER_FRAME = bytes.fromhex("68 10 42000000000000 81 16".replace(" ", "")) + WATER_DATA
WATER = _WATER_FRAME + bytes((sum(_WATER_FRAME) % 256, 0x16))


def sealed(frame: bytes) -> bytes:
    """The frame with its sum made right again."""
    return frame[:-2] + bytes((checksum(frame[:-2]), frame[-1]))


def changed(frame: bytes, place: int, value: int) -> bytes:
    return sealed(frame[:place] + bytes((value,)) + frame[place + 1 :])


class TestFaultsOfElectricity:
    @pytest.mark.parametrize(
        ("octets", "fault"),
        [
            (b"", FrameCut),
            (b"\xfe" * 4, FrameCut),
            (b"\xfe" * 5 + POWER, StartWrong),
            (b"\x00" + POWER, StartWrong),
            (changed(POWER, 0, 0x67), StartWrong),
            (changed(POWER, 7, 0x67), StartWrong),
            (POWER[:-1], FrameCut),
            (POWER[:11], FrameCut),
            (POWER + b"\x16", FrameOverlong),
            (POWER[:-1] + b"\x17", EndWrong),
            (POWER[:-2] + bytes((POWER[-2] ^ 1, 0x16)), ChecksumWrong),
            (POWER[:12] + bytes((POWER[12] ^ 1,)) + POWER[13:], ChecksumWrong),
            (changed(POWER, 1, 0x2B), AddressWrong),
            (changed(POWER, 1, 0xAA), AddressWrong),
            (changed(POWER, 8, 0x1F), ControlWrong),
            (changed(POWER, 8, 0x31), ControlWrong),
            (changed(POWER, 8, 0xF1), ControlWrong),
            (changed(POWER, 8, 0xD1), DataLengthWrong),
            (changed(POWER, 8, 0x13), DataLengthWrong),
        ],
    )
    def test_each_has_its_name(self, octets: bytes, fault: type[FrameRefused]) -> None:
        with pytest.raises(FrameRefused) as refused:
            parse_electricity(octets)
        assert type(refused.value) is fault

    def test_a_frame_that_is_not_in_the_standard_is_not_built(self) -> None:
        for frame in (
            ElectricityFrame("12345", 0x11, bytes(4)),
            ElectricityFrame("000000000001", 0x1F, bytes(4)),
            ElectricityFrame("000000000001", 0x91, bytes(201)),
            ElectricityFrame("000000000001", 0x11, bytes(3)),
        ):
            with pytest.raises(FrameRefused):
                frame.pack()

    @given(st.binary(max_size=64))
    def test_garbage_is_refused_by_name_or_is_a_frame(self, octets: bytes) -> None:
        try:
            frame = parse_electricity(octets)
        except FrameRefused:
            return
        assert octets.endswith(frame.pack())

    def test_every_bit_that_flips_in_a_frame_is_found(self) -> None:
        for place in range(len(POWER) * 8):
            damaged = bytearray(POWER)
            damaged[place // 8] ^= 1 << place % 8
            with pytest.raises(FrameRefused):
                parse_electricity(bytes(damaged))


class TestElectricity:
    def test_a_frame_made_by_hand_says_what_it_holds(self) -> None:
        frame = parse_electricity(POWER)
        assert (frame.address, frame.control, frame.edition) == ("000000000123", 0x91, Edition.E2007)
        assert (frame.data_identifier, frame.value.hex()) == ("00010000", "67452301")
        assert (frame.from_meter, frame.more_follows, frame.error) == (True, False, None)
        measured = measured_electricity(frame)
        assert (measured.hundredths, measured.unit, measured.quantity) == (
            12_345_67, Unit.KILOWATT_HOUR, Quantity.CUMULATIVE,
        )  # fmt: skip

    def test_wake_up_bytes_are_passed_over(self) -> None:
        for wake in range(5):
            assert parse_electricity(b"\xfe" * wake + POWER) == parse_electricity(POWER)

    @given(st.integers(0, 10**12 - 1), st.sampled_from(["00010000", "9010", "00900100"]), st.integers(0, 10**8 - 1))
    def test_what_a_meter_sends_is_what_is_read(self, number: int, identifier: str, hundredths: int) -> None:
        address = f"{number:012d}"
        sent = dlt645.read_answer(address, identifier, packed_digits(hundredths, 4)).pack(wake=4)
        frame = parse_electricity(sent)
        assert frame.data_identifier == identifier
        if address == BROADCAST:
            return
        measured = measured_electricity(frame)
        assert (measured.meter_number, measured.hundredths) == (address, hundredths)

    def test_a_request_is_as_the_standard_writes_it(self) -> None:
        asked = dlt645.read_request(ANY_METER, "9010").pack()
        assert asked.hex().upper() == "68AAAAAAAAAAAA68010243C3D516"

    @pytest.mark.parametrize(
        ("frame", "fault"),
        [
            (ElectricityFrame("000000000001", 0xD1, b"\x02"), MeterSaidNo),
            (ElectricityFrame("000000000001", 0xC1, b"\x02"), MeterSaidNo),
            (dlt645.read_request("000000000001", "00010000"), NotAReading),
            (dlt645.read_answer("000000000001", "02010100", b"\x00\x22"), NotAReading),
            (ElectricityFrame("000000000001", 0xB1, bytes.fromhex("0000010000000000")), NotAReading),
            (dlt645.read_answer("000000000001", "00010000", bytes(5)), ValueLengthWrong),
            (dlt645.read_answer("000000000001", "9010", bytes(3)), ValueLengthWrong),
            (dlt645.read_answer("000000000001", "9010", b"\x0a\x00\x00\x00"), DigitsWrong),
            (dlt645.read_answer("aaaaaa000001", "9010", bytes(4)), AddressOpen),
            (dlt645.read_answer(BROADCAST, "9010", bytes(4)), AddressOpen),
        ],
    )
    def test_a_frame_without_the_value_is_refused_by_name(
        self, frame: ElectricityFrame, fault: type[Exception]
    ) -> None:
        with pytest.raises(fault):
            measured_electricity(parse_electricity(frame.pack()))


class TestFaultsOfWater:
    @pytest.mark.parametrize(
        ("octets", "fault"),
        [
            (b"", FrameCut),
            (WATER[:9], FrameCut),
            (WATER[:-1], FrameCut),
            (WATER + b"\x00", FrameOverlong),
            (b"\xfe" * 5 + WATER, StartWrong),
            (changed(WATER, 0, 0x86), StartWrong),
            (WATER[:-1] + b"\x68", EndWrong),
            (WATER[:20] + bytes((WATER[20] ^ 1,)) + WATER[21:], ChecksumWrong),
            (changed(WATER, 1, 0x50), MeterTypeWrong),
            (changed(WATER, 1, 0x1A), MeterTypeWrong),
            (changed(WATER, 2, 0xF2), AddressWrong),
            (changed(WATER, 9, 0x82), ControlWrong),
            (changed(WATER, 9, 0x41), ControlWrong),
            (changed(WATER, 9, 0xC1), DataLengthWrong),
            (changed(WATER, 10, 0x15), FrameOverlong),
            (changed(WATER, 10, 0x31), FrameCut),
        ],
    )
    def test_each_has_its_name(self, octets: bytes, fault: type[FrameRefused]) -> None:
        with pytest.raises(FrameRefused) as refused:
            parse_utility(octets)
        assert type(refused.value) is fault

    @given(st.binary(max_size=64))
    def test_garbage_is_refused_by_name_or_is_a_frame(self, octets: bytes) -> None:
        try:
            frame = parse_utility(octets)
        except FrameRefused:
            return
        assert octets.endswith(frame.pack())

    def test_every_bit_that_flips_in_a_frame_is_found(self) -> None:
        for place in range(len(WATER) * 8):
            damaged = bytearray(WATER)
            damaged[place // 8] ^= 1 << place % 8
            with pytest.raises(FrameRefused):
                parse_utility(bytes(damaged))


class TestWater:
    def test_a_frame_made_by_hand_says_what_it_holds(self) -> None:
        frame = parse_utility(WATER)
        assert (frame.meter_type, frame.address, frame.control) == (0x10, "00000000000042", 0x81)
        assert (frame.data_identifier, frame.serial) == ("901F", 7)
        measured = measured_volume(frame)
        assert (measured.utility, measured.hundredths, measured.unit) == (Utility.WATER, 123_45, Unit.CUBIC_METRE)
        assert measured.meter_time == datetime(2025, 9, 1, 12, 0, 5, tzinfo=CITY_TZ)
        assert not measured.battery_low

    @pytest.mark.parametrize("identifier", ["901F", "1F90"])
    @pytest.mark.parametrize(("meter_type", "utility"), [(cjt188.COLD_WATER, Utility.WATER), (cjt188.GAS, Utility.GAS)])
    def test_both_orders_of_the_identifier_are_read(self, identifier: str, meter_type: int, utility: Utility) -> None:
        asked = cjt188.read_request(meter_type, "00000000000042", identifier, serial=9)
        answer = parse_utility(cjt188.read_answer(asked, WATER_DATA[3:]).pack(wake=3))
        assert answer.serial == 9
        assert measured_volume(answer).utility is utility

    def test_a_meter_without_a_clock_tells_no_time_and_an_empty_battery_is_told(self) -> None:
        value = WATER_DATA[3:13] + bytes(7) + b"\x04\x00"
        asked = cjt188.read_request(cjt188.COLD_WATER, "00000000000042", "901F")
        measured = measured_volume(cjt188.read_answer(asked, value))
        assert (measured.meter_time, measured.battery_low) == (None, True)

    @pytest.mark.parametrize(
        ("place", "value", "fault"),
        [(4, 0x29, UnitWrong), (0, 0x1A, DigitsWrong), (14, 0x13, TimeInvalid)],
    )
    def test_a_wrong_value_is_refused_by_name(self, place: int, value: int, fault: type[Exception]) -> None:
        data = bytearray(WATER_DATA[3:])
        data[place] = value
        asked = cjt188.read_request(cjt188.COLD_WATER, "00000000000042", "901F")
        with pytest.raises(fault):
            measured_volume(cjt188.read_answer(asked, bytes(data)))

    @pytest.mark.parametrize(
        ("frame", "fault"),
        [
            (UtilityFrame(0x10, "00000000000042", 0xC1, b"\x07\x04\x00"), MeterSaidNo),
            (cjt188.read_request(0x10, "00000000000042", "901F"), NotAReading),
            (UtilityFrame(0x20, "00000000000042", 0x81, WATER_DATA), NotAReading),
            (UtilityFrame(0x10, "00000000000042", 0x81, b"\x81\x0a\x00"), NotAReading),
            (UtilityFrame(0x10, "00000000000042", 0x81, WATER_DATA[:-1]), ValueLengthWrong),
            (UtilityFrame(0x10, cjt188.ANY_METER, 0x81, WATER_DATA), AddressOpen),
        ],
    )
    def test_a_frame_without_the_value_is_refused_by_name(self, frame: UtilityFrame, fault: type[Exception]) -> None:
        with pytest.raises(fault):
            measured_volume(parse_utility(frame.pack()))


_READS = st.builds(
    MeterRead,
    st.sampled_from(Utility),
    st.integers(0, 10**12 - 1).map(lambda number: f"{number:012d}"),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**31 - 1),
    st.just(NOON),
)


class TestRecords:
    @given(st.lists(_READS, max_size=8))
    def test_reads_come_back_from_records_that_the_centre_accepts(self, reads: list[MeterRead]) -> None:
        records = to_records(reads, READER, first_seq=41, first_device_seq=7)
        assert not check_format(records).any()
        assert from_records(records) == reads
        assert records["terminal_seq"].tolist() == list(range(41, 41 + len(reads)))

    def test_frames_of_one_meter_become_one_record(self) -> None:
        left = parse_electricity(dlt645.read_answer("000000000123", "00900100", packed_digits(55_00, 4)).pack())
        read = combine([measured_electricity(parse_electricity(POWER)), measured_electricity(left)], NOON)
        (record,) = to_records([read], READER, first_seq=1, first_device_seq=1)
        assert (record["kind"], record["tti"], record["amount_fen"], record["industry"]) == (0x0A, 0, 0, 0x0102)
        assert (record["list_price_fen"], record["balance_before_fen"]) == (12_345_67, 55_00)
        assert record["psam_number"].tobytes().hex() == "00000000000000000123"

    def test_the_long_number_of_a_water_meter_comes_back(self) -> None:
        frame = UtilityFrame(0x10, "33780011223344", 0x81, WATER_DATA)
        read = combine([measured_volume(frame)], NOON)
        assert from_records(to_records([read], READER, first_seq=1, first_device_seq=1)) == [read]
        assert read.meter_number == "33780011223344"

    def test_values_of_several_meters_or_without_a_reading_are_no_read(self) -> None:
        power = measured_electricity(parse_electricity(POWER))
        left = measured_electricity(dlt645.read_answer("000000000123", "00900100", bytes(4)))
        for values in ([], [power, power], [left], [power, measured_volume(parse_utility(WATER))]):
            with pytest.raises(RecordMismatch):
                combine(values, NOON)

    @pytest.mark.parametrize(("field", "value"), [("kind", 1), ("industry", 2), ("amount_fen", 1), ("card_class", 7)])
    def test_another_record_is_not_taken_for_a_read(self, field: str, value: int) -> None:
        records = to_records(
            [MeterRead(Utility.WATER, "000000000001", 1, 0, NOON)], READER, first_seq=1, first_device_seq=1
        )
        records[field] = value
        with pytest.raises(RecordMismatch) as refused:
            from_records(records)
        assert refused.value.facts["field"] == field

    def test_a_quantity_too_large_for_its_field_is_refused(self) -> None:
        for read in (
            MeterRead(Utility.WATER, "000000000001", 2**32, 0, NOON),
            MeterRead(Utility.WATER, "000000000001", 0, 2**31, NOON),
        ):
            with pytest.raises(RecordMismatch):
                to_records([read], READER, first_seq=1, first_device_seq=1)


@pytest.mark.skipif(not _FRAMES.exists(), reason=f"no frames of real meters: {_FRAMES} is absent")
class TestFramesOfRealMeters:
    def frames(self, standard: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(_FRAMES.read_text())[standard]
        assert found, "a file without frames proves nothing"
        return found

    def test_electricity_frames_are_read_as_expected(self) -> None:
        for expected in self.frames("dlt645"):
            octets = bytes.fromhex(expected["frame"])
            if not expected["valid"]:
                with pytest.raises(FrameRefused):
                    parse_electricity(octets)
                continue
            frame = parse_electricity(octets)
            assert frame.address == expected["address"]
            assert f"{frame.control:02X}" == expected["control"]
            assert len(frame.data) == expected["length"]
            assert frame.data.hex() == expected["data_minus_33"]
            assert frame.data_identifier == expected.get("di2007", expected.get("di1997"))
            assert (frame.edition is Edition.E2007) == ("di2007" in expected or "error" in expected)
            assert frame.error == (int(expected["error"], 16) if "error" in expected else None)
            if "value_bcd_msb_first" in expected:
                assert frame.value[::-1].hex() == expected["value_bcd_msb_first"]
            assert octets.endswith(frame.pack())

    def test_water_frames_are_read_as_expected_and_bad_ones_refused(self) -> None:
        judged = []
        for expected in self.frames("cjt188"):
            octets = bytes.fromhex(expected["frame"])
            judged.append(expected["valid"])
            if not expected["valid"]:
                with pytest.raises(FrameRefused):
                    parse_utility(octets)
                continue
            frame = parse_utility(octets)
            assert f"{frame.meter_type:02X}" == expected["meter_type"]
            assert bytes.fromhex(frame.address)[::-1].hex() == expected["address_lsb_first"]
            assert f"{frame.control:02X}" == expected["control"]
            assert len(frame.data) == expected["length"]
            assert octets.endswith(frame.pack())
        assert not all(judged), "the frame that lies about its length is among them"
