"""Why the gateway says no; the reasons of `citycard.terminal_gw.v1.ErrorReason`."""

from libs.errors import AlreadyExists, Conflict, DataLost, Forbidden, InvalidInput, LimitReached, NotFound, Refusal


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


class DeviceMismatch(Refusal):
    """The PSAM sits in another machine than its pairing says. Facts: `terminal`, `expected`, `found`."""

    reason = "DEVICE_MISMATCH"


class PairingNotValid(Refusal):
    """No pairing of PSAM and machine is valid now. Fact: `terminal`."""

    reason = "PAIRING_NOT_VALID"


class PairingOverlaps(Refusal):
    """The pairing overlaps a later one, or ends before it begins. Fact: `terminal`."""

    reason = "PAIRING_OVERLAPS"


class CertificateRevoked(Forbidden):
    """The caller's certificate was revoked."""

    reason = "CERTIFICATE_REVOKED"


class SessionOrder(Refusal):
    """Messages of a session came in an impossible order. Facts: `expected`, `found`."""

    reason = "SESSION_ORDER"


class SessionReplaced(Conflict):
    """A newer session of the same terminal took its place. Fact: `terminal`."""

    reason = "SESSION_REPLACED"


class SessionSilent(LimitReached):
    """The terminal said nothing for three heartbeats. Fact: `terminal`."""

    reason = "SESSION_SILENT"


class SlowReader(LimitReached):
    """The terminal does not read what it is told. Fact: `terminal`."""

    reason = "SLOW_READER"


class MessageTooLarge(LimitReached):
    """A message of a session is too large. Facts: `size_bytes`, `limit_bytes`."""

    reason = "MESSAGE_TOO_LARGE"


class CommandUnknown(NotFound):
    """No such command. Fact: `command`."""

    reason = "COMMAND_UNKNOWN"


class CommandClosed(Refusal):
    """The command is final already. Facts: `command`, `state`."""

    reason = "COMMAND_CLOSED"


class PackUnknown(NotFound):
    """No such pack. Fact: `pack`."""

    reason = "PACK_UNKNOWN"


class PackExists(AlreadyExists):
    """The version exists with other content. Fact: `pack`."""

    reason = "PACK_EXISTS"


class PackOrder(Refusal):
    """Messages of a pack came in an impossible order. Facts: `expected`, `found`."""

    reason = "PACK_ORDER"


class PackDigest(DataLost):
    """The bytes are not those of the announced digest and size."""

    reason = "PACK_DIGEST"


class PackOffset(InvalidInput):
    """The offset lies beyond the end of the pack. Facts: `offset`, `size_bytes`."""

    reason = "PACK_OFFSET"


class RolloutUnknown(NotFound):
    """No such roll-out. Fact: `rollout`."""

    reason = "ROLLOUT_UNKNOWN"


class RolloutState(Refusal):
    """The roll-out is in another state or stage. Facts: `rollout`, `state`, `stage`."""

    reason = "ROLLOUT_STATE"


class RegisterMalformed(InvalidInput):
    """A register contradicts itself. Fact: `field`."""

    reason = "REGISTER_MALFORMED"


class RegisterConflict(AlreadyExists):
    """Another register of the same serials is kept. Facts: `device`, `first`."""

    reason = "REGISTER_CONFLICT"


class CompletenessUnknown(NotFound):
    """No such certificate of completeness. Fact: `certificate`."""

    reason = "COMPLETENESS_UNKNOWN"


class KeysNotConfigured(Refusal):
    """The gateway holds no master key for work keys."""

    reason = "KEYS_NOT_CONFIGURED"


class RepairUnknown(NotFound):
    """No such repair slip. Fact: `repair`."""

    reason = "REPAIR_UNKNOWN"
