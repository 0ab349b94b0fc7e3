"""Which certificates are trusted no longer: asked of memory at every message, of the database every second."""

from collections.abc import Callable

from libs.clock import Clock
from libs.errors import RequestMalformed
from libs.runtime.identity import Identity
from services.terminal_gw.application.ports_field import FieldUnitOfWork
from services.terminal_gw.domain.device import Revoked
from services.terminal_gw.domain.errors import CertificateRevoked

_FINGERPRINT_BYTES = 32


class Trust:
    """Remembers what was revoked.

    Args:
        unit_of_work: Opens a transaction.
        clock: Tells the moment of revoking.
    """

    def __init__(self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._revoked: frozenset[str] = frozenset()

    def holds(self, caller: str, fingerprint: bytes) -> bool:
        """Whether a caller is trusted.

        Args:
            caller: Its name, `citycard://…`.
            fingerprint: SHA-256 of its certificate (DER).
        """
        # Mostly there is nothing to look up.
        return not self._revoked or (caller not in self._revoked and f"sha256:{fingerprint.hex()}" not in self._revoked)

    def check(self, caller: str, fingerprint: bytes) -> None:
        """Let pass who is trusted.

        Raises:
            CertificateRevoked: It is not.
        """
        if not self.holds(caller, fingerprint):
            raise CertificateRevoked

    async def refresh(self) -> bool:
        """Read anew; returns whether anything changed."""
        async with self._unit_of_work() as uow:
            now = frozenset(one.subject for one in await uow.devices.revoked())
        changed = now != self._revoked
        self._revoked = now
        return changed

    async def revoke(self, fingerprint: bytes, subject: str, reason: str, revoker: str) -> Revoked:
        """Trust a certificate, or every certificate of a name, no longer; an earlier revocation stands.

        Raises:
            RequestMalformed: Neither or both are said.
            CallerUnknown: The subject is not a name of ours.
        """
        if bool(fingerprint) == bool(subject) or len(fingerprint) not in (0, _FINGERPRINT_BYTES):
            raise RequestMalformed(field="fingerprint", description="say 32 bytes, or a subject")
        what = Identity.parse(subject).uri if subject else f"sha256:{fingerprint.hex()}"
        async with self._unit_of_work() as uow:
            revoked = await uow.devices.revoke(Revoked(what, self._clock.now(), reason), revoker)
            await uow.commit()
        self._revoked |= {revoked.subject}
        return revoked
