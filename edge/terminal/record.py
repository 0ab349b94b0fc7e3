"""One offline transaction record, made at the moment of the tap (record-formats.md, section 1)."""

import struct
import zlib
from dataclasses import dataclass, field

from libs.records.numbers import institution_bytes, psam_bytes, terminal_bytes
from libs.records.otr import OTR_FORMAT, OTR_LENGTH

# The columns of libs.records.otr as one row: format, kind, class, algorithm, key version and index; issuer, card, city,
# types; acquirer to PSAM; sequence, counter, TTI, amounts; time, TAC, device, place, staff, rule, flags, versions.
_BODY = struct.Struct(">BBBBBB8s10s2sBB8s2sHI6s10sIHBiII7s4sII3sHBIHBHH9x")
_CRC = struct.Struct(">I")
assert _BODY.size + _CRC.size == OTR_LENGTH, "the struct must be the record, byte for byte"


@dataclass(frozen=True, slots=True)
class TerminalFacts:
    """What a terminal is: the same in all its records.

    Attributes:
        terminal_number: 12 digits, PSAM file 0016.
        psam_number: 20 digits, PSAM file 0015.
        acquirer_id: Digits of the operator's institution id.
        accepting_city: 4 digits.
        industry_code: 2 bytes as an integer (card-files.md, section 8).
        operator_number: The unit of settlement.
        device_number: The machine that the PSAM sits in.
        line: 6 digits; 000000 for none.
        station: Station or stop; 0 for none.
        direction: 0 up or none, 1 down.
    """

    terminal_number: str
    psam_number: str
    acquirer_id: str
    accepting_city: str
    industry_code: int
    operator_number: int
    device_number: int
    line: str = "000000"
    station: int = 0
    direction: int = 0
    # The same facts as they stand in a record, packed once: a bus makes thousands of records with them.
    terminal_packed: bytes = field(init=False, repr=False)
    acquirer_packed: bytes = field(init=False, repr=False)
    psam_packed: bytes = field(init=False, repr=False)
    city_packed: bytes = field(init=False, repr=False)
    line_packed: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Pack the numbers.

        Raises:
            NumberInvalid: A number is not one of its kind.
        """
        object.__setattr__(self, "terminal_packed", terminal_bytes(self.terminal_number))
        object.__setattr__(self, "acquirer_packed", institution_bytes(self.acquirer_id))
        object.__setattr__(self, "psam_packed", psam_bytes(self.psam_number))
        assert len(self.accepting_city) == 4, "a city code has 4 digits"
        assert len(self.line) == 6, "a line has 6 digits"
        object.__setattr__(self, "city_packed", bytes.fromhex(self.accepting_city))
        object.__setattr__(self, "line_packed", bytes.fromhex(self.line))


@dataclass(frozen=True, slots=True)
class TapFacts:
    """What happened at one tap, as the card, the security module and the fare rules said.

    Attributes:
        kind: Kind of the record (libs.records.codes.Kind).
        card_class: libs.records.numbers.CardClass.
        algorithm_id: From answer B.
        key_version: From answer B.
        key_index: Sent in INITIALIZE.
        issuer: 8 bytes.
        card_number: 10 bytes BCD.
        card_city: 2 bytes BCD.
        card_main_type: Card main type.
        terminal_seq: From the security module.
        card_counter: As in answer B.
        tti: Transaction type.
        balance_before_fen: Signed; of a JT card less the overdraft limit.
        amount_fen: What the card paid.
        list_price_fen: Before discounts.
        stamp: Time, 7 bytes BCD.
        tac: 4 bytes, zero where there is none.
        discount_rule: 0 none.
        flags: libs.records.otr.Flag.
        blacklist_version: In force at the terminal.
        parameter_version: In force at the terminal.
    """

    kind: int
    card_class: int
    algorithm_id: int
    key_version: int
    key_index: int
    issuer: bytes
    card_number: bytes
    card_city: bytes
    card_main_type: int
    terminal_seq: int
    card_counter: int
    tti: int
    balance_before_fen: int
    amount_fen: int
    list_price_fen: int
    stamp: bytes
    tac: bytes
    discount_rule: int
    flags: int
    blacklist_version: int
    parameter_version: int


def make_record(terminal: TerminalFacts, tap: TapFacts, device_seq: int) -> bytes:
    """The 128 bytes of a record, sealed with its CRC-32.

    Args:
        terminal: Whose record.
        tap: What happened.
        device_seq: One up for every record of this device.
    """
    body = _BODY.pack(
        OTR_FORMAT, tap.kind, tap.card_class, tap.algorithm_id, tap.key_version, tap.key_index,
        tap.issuer, tap.card_number, tap.card_city, tap.card_main_type, 0,
        terminal.acquirer_packed, terminal.city_packed, terminal.industry_code, terminal.operator_number,
        terminal.terminal_packed, terminal.psam_packed,
        tap.terminal_seq, tap.card_counter, tap.tti, tap.balance_before_fen, tap.amount_fen, tap.list_price_fen,
        tap.stamp, tap.tac, terminal.device_number, device_seq, terminal.line_packed, terminal.station,
        terminal.direction, 0, tap.discount_rule, tap.flags,
        tap.blacklist_version & 0xFFFF, tap.parameter_version & 0xFFFF,
    )  # fmt: skip
    return body + _CRC.pack(zlib.crc32(body))
