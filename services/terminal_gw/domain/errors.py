"""Why the gateway says no; the reasons of `citycard.terminal_gw.v1.ErrorReason`."""

from libs.errors import AlreadyExists, DataLost, Forbidden, InvalidInput, LimitReached, NotFound, Refusal


class TerminalUnknown(NotFound):
    """No such terminal. Fact: `terminal`."""

    reason = "TERMINAL_UNKNOWN"


class TerminalExists(AlreadyExists):
    """The number is registered with other facts. Fact: `terminal`."""

    reason = "TERMINAL_EXISTS"


class PsamInUse(AlreadyExists):
    """The PSAM belongs to another terminal. Facts: `psam`, `terminal`."""

    reason = "PSAM_IN_USE"


class PsamMismatch(Refusal):
    """The PSAM is not the one registered for the terminal. Facts: `psam`, `terminal`."""

    reason = "PSAM_MISMATCH"


class PsamRevoked(Refusal):
    """The PSAM was revoked. Fact: `psam`."""

    reason = "PSAM_REVOKED"


class UploadOrder(Refusal):
    """Messages of an upload came in an impossible order. Facts: `expected`, `found`."""

    reason = "UPLOAD_ORDER"


class ChunkChecksum(DataLost):
    """A chunk was damaged on its way. Fact: `offset`."""

    reason = "CHUNK_CHECKSUM"


class UploadTooLarge(LimitReached):
    """The file is larger than the gateway takes. Facts: `size_bytes`, `limit_bytes`."""

    reason = "UPLOAD_TOO_LARGE"


class UploadDigest(DataLost):
    """The bytes are not those of the announced digest."""

    reason = "UPLOAD_DIGEST"


class UploadMalformed(InvalidInput):
    """The file is not a batch file. Facts: `file_code`, `detail`."""

    reason = "UPLOAD_MALFORMED"


class SignatureWrong(Forbidden):
    """The signature is not the sender's."""

    reason = "SIGNATURE_WRONG"


class UploadTruncated(DataLost):
    """The stream ended before the file did; what came is kept. Facts: `received_bytes`, `size_bytes`."""

    reason = "UPLOAD_TRUNCATED"


class UploadUnknown(NotFound):
    """No such upload. Fact: `upload`."""

    reason = "UPLOAD_UNKNOWN"
