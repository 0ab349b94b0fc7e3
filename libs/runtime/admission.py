"""Who is let in: certificate, role, staff token and quota of every call, looked at before the request is read."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from libs.errors import CertificateRevoked, RoleNotAllowed, StaffRoleNotAllowed, StaffTokenRequired
from libs.runtime.certificates import PeerCertificate, Revocations, check_peer, peer_certificate
from libs.runtime.contract import Rules
from libs.runtime.identity import Call, Context, Role, identity_of_peer
from libs.runtime.quota import Quotas
from libs.runtime.settings import ServiceSettings
from libs.runtime.staff import METADATA_KEY, StaffVerifier

# Health and reflection: whoever holds a good certificate of ours may ask.
OPEN_SERVICES = (
    "grpc.health.v1.Health/",
    "grpc.reflection.v1alpha.ServerReflection/",
    "grpc.reflection.v1.ServerReflection/",
)
_LOOK_S = 5.0


class Admission:
    """Decides for every call of one server.

    Args:
        rules: What each offered method declares, by full name; a method outside of it is refused for everybody.
        settings: Of the service: revocation list, keys of staff tokens, quotas.

    Raises:
        ValueError, OSError: A file that the settings name cannot be used.
    """

    def __init__(self, rules: dict[str, Rules], settings: ServiceSettings) -> None:
        self._rules = rules
        self._clock = settings.clock()
        # Certificates end by the machine's clock, whatever day a test deployment lives on.
        self._machine_clock = type(self._clock)()
        self._quotas = Quotas(settings.quota, settings.quotas)
        revoked, keys = settings.tls_revoked_file, settings.staff_keys_file
        self._revocations = Revocations(revoked, settings.tls_ca_file) if revoked else None
        self._staff = StaffVerifier(keys, self._clock, settings.staff_token_lifetime_max) if keys else None
        self._live: dict[Call, tuple[PeerCertificate, asyncio.Task[object]]] = {}

    @contextmanager
    def admitted(self, call: Call, metadata: dict[str, str], context: Context, *, streams: bool) -> Iterator[None]:
        """Let a call in, for the length of the block; `call` learns who it is.

        Raises:
            CallerUnknown, CertificateRevoked, CertificateExpired: The certificate is not good.
            RoleNotAllowed: The method is not for this kind of caller.
            StaffTokenRequired, StaffTokenInvalid, StaffRoleNotAllowed: The method asks for a person.
            LimitReached: The caller's quota is used up.
        """
        call.identity = identity = identity_of_peer(context)
        certificate = peer_certificate(context)
        if certificate is not None:
            check_peer(certificate, self._revocations, self._machine_clock.now())
        if call.method.startswith(OPEN_SERVICES):
            yield
            return
        rules = self._rules.get(call.method)
        if rules is None or identity.kind not in rules.roles:
            raise RoleNotAllowed(role=identity.kind.value, method=call.method)
        self._identify_staff(call, rules, metadata)
        self._quotas.take_call(identity)
        if not streams:
            yield
            return
        task = asyncio.current_task()
        assert task is not None, "a call is answered in a task"
        if certificate is not None:
            self._live[call] = (certificate, task)
        try:
            with self._quotas.stream(identity):
                yield
        finally:
            self._live.pop(call, None)

    def _identify_staff(self, call: Call, rules: Rules, metadata: dict[str, str]) -> None:
        token = metadata.get(METADATA_KEY)
        if token and self._staff is not None:
            staff = self._staff.verify(token)
            identity = call.identity
            # A token of one outlet is worth nothing at another.
            if identity is not None and identity.kind is Role.OUTLET and staff.outlet not in (None, identity.id):
                raise StaffRoleNotAllowed(staff=staff.id, roles="", method=call.method)
            call.staff = staff
        if not rules.staff_roles or (call.identity is not None and call.identity.kind is Role.SERVICE):
            return
        if call.staff is None:
            raise StaffTokenRequired(method=call.method)
        if not rules.staff_roles & call.staff.roles:
            roles = ", ".join(sorted(call.staff.roles))
            raise StaffRoleNotAllowed(staff=call.staff.id, roles=roles, method=call.method)

    async def watch(self) -> None:
        """End the open streams of certificates that are taken back, until cancelled.

        A stream may live for days: nobody would ask again before its end.
        """
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._revocations is None:
                continue
            self._revocations.refresh()
            for call, (certificate, task) in list(self._live.items()):
                if certificate in self._revocations and call.ended_by is None:
                    call.ended_by = CertificateRevoked(serial=f"{certificate.serial:x}")
                    task.cancel()
