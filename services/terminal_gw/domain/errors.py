"""Why the gateway says no; the reasons are those of `citycard.terminal_gw.v1.ErrorReason`."""

from libs.errors import AlreadyExists, DataLost, Forbidden, InvalidInput, LimitReached, NotFound, Refusal


class TerminalUnknown(NotFound):
    """No such terminal; fact `terminal`."""

    reason = "TERMINAL_UNKNOWN"


class TerminalExists(AlreadyExists):
    """The number is registered with other facts; fact `terminal`."""

    reason = "TERMINAL_EXISTS"


class PsamInUse(AlreadyExists):
    """The PSAM belongs to another terminal; facts `psam`, `terminal`."""

    reason = "PSAM_IN_USE"


class PsamMismatch(Refusal):
    """The PSAM in the terminal is not the one registered for it; facts `terminal`, `psam`."""

    reason = "PSAM_MISMATCH"


class PsamRevoked(Refusal):
    """The PSAM was revoked; fact `psam`."""

    reason = "PSAM_REVOKED"


class UploadOrder(Refusal):
    """Messages came in an impossible order; facts `expected`, `found`."""

    reason = "UPLOAD_ORDER"


class ChunkChecksum(DataLost):
    """A chunk was damaged on its way; fact `offset`."""

    reason = "CHUNK_CHECKSUM"


class UploadTooLarge(LimitReached):
    """The file, or a chunk of it, is larger than the gateway takes; facts `size_bytes`, `limit_bytes`."""

    reason = "UPLOAD_TOO_LARGE"


class UploadDigest(DataLost):
    """The bytes do not have the announced digest."""

    reason = "UPLOAD_DIGEST"


class UploadMalformed(InvalidInput):
    """The file is not a batch file; facts `file_code`, `fault`, `detail`."""

    reason = "UPLOAD_MALFORMED"


class SignatureWrong(Forbidden):
    """The signature is not the sender's."""

    reason = "SIGNATURE_WRONG"


class UploadTruncated(DataLost):
    """The stream ended before the file did; facts `received_bytes`, `size_bytes`."""

    reason = "UPLOAD_TRUNCATED"


class UploadUnknown(NotFound):
    """No such upload; fact `upload`."""

    reason = "UPLOAD_UNKNOWN"
