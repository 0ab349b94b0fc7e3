"""Why the key store says no. No message here ever carries key bytes."""

from libs.errors import InvalidInput, Refusal, Unavailable


class KeyUnknown(Refusal):
    """No key of that issuer, kind, version and algorithm; the facts are those of result code 13."""

    reason = "KEY_UNKNOWN"


class KeyUseForbidden(Refusal):
    """A key was asked for something that its kind does not allow."""

    reason = "KEY_USE_FORBIDDEN"


class KeyExists(Refusal):
    """There is a key of that name already; keys are never replaced, a new one has a new version. Fact: `key`."""

    reason = "KEY_EXISTS"


class KeyAlgorithmUnsupported(Refusal):
    """This custody cannot compute with keys of that algorithm. Facts: `key`, `device`."""

    reason = "KEY_ALGORITHM_UNSUPPORTED"


class CheckValueWrong(Refusal):
    """The components do not make the key that was announced. Facts: `expected`, `found`."""

    reason = "KEY_CHECK_VALUE_WRONG"


class ComponentMalformed(InvalidInput):
    """A key component is no 16 bytes, or the components cannot be of two people. Fact: `why`."""

    reason = "KEY_COMPONENT_MALFORMED"


class KeyDeviceUnavailable(Unavailable):
    """The device that keeps the keys does not answer, or its software is missing. Fact: `why`."""

    reason = "KEY_DEVICE_UNAVAILABLE"


class KeyDeviceLocked(Refusal):
    """The device refuses the PIN, or has locked it. Fact: `why`."""

    reason = "KEY_DEVICE_LOCKED"


class KeyFileUnreadable(Refusal):
    """The sealed key file is damaged, is not ours, or the passphrase does not open it."""

    reason = "KEY_FILE_UNREADABLE"


class PublicKeyRefused(Refusal):
    """A key that everybody knows, or a file of test keys, in a deployment that is not marked as test."""

    reason = "PUBLIC_KEY_REFUSED"
