"""Why the key store says no. No message here ever carries key bytes."""

from libs.errors import Refusal


class KeyUnknown(Refusal):
    """No key of that issuer, kind, version and algorithm; the facts are those of result code 13."""

    reason = "KEY_UNKNOWN"


class KeyUseForbidden(Refusal):
    """A key was asked for something that its kind does not allow."""

    reason = "KEY_USE_FORBIDDEN"


class KeyFileUnreadable(Refusal):
    """The sealed key file is damaged, is not ours, or the passphrase does not open it."""

    reason = "KEY_FILE_UNREADABLE"


class PublicKeyRefused(Refusal):
    """A key that everybody knows, or a file of test keys, in a deployment that is not marked as test."""

    reason = "PUBLIC_KEY_REFUSED"
