"""Why a meter's frame, or the value in it, is not believed. Every frame is judged alone: a bad one spoils no other."""

from libs.errors import InvalidInput


class FrameRefused(InvalidInput):
    """The bytes are no frame. Facts: `expected`, `found`."""

    reason = "FRAME_REFUSED"


class FrameCut(FrameRefused):
    """Fewer bytes than a frame has, or than its length says."""

    reason = "FRAME_CUT"


class FrameOverlong(FrameRefused):
    """Bytes follow the end of the frame."""

    reason = "FRAME_OVERLONG"


class StartWrong(FrameRefused):
    """A start byte 68 is not where it must be, or too many bytes FE stand before it."""

    reason = "FRAME_START_WRONG"


class EndWrong(FrameRefused):
    """The last byte is not 16."""

    reason = "FRAME_END_WRONG"


class ChecksumWrong(FrameRefused):
    """The sum of the bytes modulo 256 is another."""

    reason = "FRAME_CHECKSUM_WRONG"


class AddressWrong(FrameRefused):
    """The address is neither digits nor digits with wildcards AA at the high end."""

    reason = "FRAME_ADDRESS_WRONG"


class ControlWrong(FrameRefused):
    """A control code that the standard does not have."""

    reason = "FRAME_CONTROL_WRONG"


class MeterTypeWrong(FrameRefused):
    """A meter type that CJ/T 188 does not have."""

    reason = "FRAME_METER_TYPE_WRONG"


class DataLengthWrong(FrameRefused):
    """The data is too short or too long for its control code."""

    reason = "FRAME_DATA_LENGTH_WRONG"


class ReadingRefused(InvalidInput):
    """A right frame does not carry the value that was asked for."""

    reason = "READING_REFUSED"


class MeterSaidNo(ReadingRefused):
    """The meter answered that it could not. Fact: `error`, the error byte in hexadecimal."""

    reason = "METER_SAID_NO"


class NotAReading(ReadingRefused):
    """Not the answer to a read, or of a data item that is no reading. Facts: `control`, `data_identifier`."""

    reason = "NOT_A_READING"


class DigitsWrong(ReadingRefused):
    """A value is not packed digits. Fact: `found`."""

    reason = "READING_DIGITS_WRONG"


class ValueLengthWrong(ReadingRefused):
    """A value has another length than its data item. Facts: `expected`, `found`."""

    reason = "READING_LENGTH_WRONG"


class UnitWrong(ReadingRefused):
    """A unit that is unknown, or does not belong to this kind of meter. Fact: `unit`."""

    reason = "READING_UNIT_WRONG"


class AddressOpen(ReadingRefused):
    """The address names no single meter: wildcards, or the broadcast address."""

    reason = "READING_ADDRESS_OPEN"


class RecordMismatch(InvalidInput):
    """A record is not a meter read, or its fields contradict one another. Fact: `field`."""

    reason = "RECORD_NOT_A_METER_READ"
