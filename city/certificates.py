"""Development certificates of one root: an authority, and one certificate for everybody who calls or is called."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from city.names import DEFAULT_ROOT, SERVICES
from city.processes import exclusive
from libs.runtime.client import TlsFiles
from libs.runtime.identity import Identity
from libs.runtime.pki import CertificateAuthority
from libs.runtime.staff import StaffRole, StaffSigner

__all__ = ["Certificates", "TlsFiles"]

# Who is there from the first day, beside the services.
STAFF = (("administrator", "demo"), ("auditor", "demo"))
# One that ends earlier is made anew: a city that is started now shall live through the day.
_LIFE_LEFT_MIN = timedelta(days=1)


class Certificates:
    """The certificates of a root, in its folder `certificates`.

    Args:
        root: Of the local city; the authority is made when there is none.
    """

    def __init__(self, root: Path = DEFAULT_ROOT) -> None:
        self._folder = root.absolute() / "certificates"
        self._lock = root.absolute() / "certificates.lock"
        with exclusive(self._lock):
            self._authority = CertificateAuthority.load_or_create(self._folder)
            self._staff = StaffSigner.load_or_create(self._folder)
            if not self.revoked_file.exists():
                self._write_revoked([])

    @property
    def authority_file(self) -> Path:
        """PEM certificate of the authority: what everybody here trusts."""
        return self._folder / "ca.crt"

    def issue(self, kind: str, name: str) -> TlsFiles:
        """The certificate of `citycard://<kind>/<name>`; made when there is none, or none that is good for a day.

        Args:
            kind: service, participant, terminal, collector, outlet, administrator or auditor.
            name: The rest of the URI name; for terminal and collector `<participant>/<number>`.

        Raises:
            CallerUnknown: That is no name of a caller (libs/runtime/identity.py).
        """
        identity = Identity.parse(f"citycard://{kind}/{name}")
        # No dash: `participant/a-b` and another kind of name must never share a file.
        stem = identity.uri.removeprefix("citycard://").replace("/", "+")
        files = TlsFiles(self.authority_file, self._folder / f"{stem}.crt", self._folder / f"{stem}.key")
        with exclusive(self._lock):
            if files.cert.exists() and files.key.exists() and self._good(files.cert):
                return files
            return self._authority.issue_files(identity.uri, self._folder, stem)

    @property
    def revoked_file(self) -> Path:
        """PEM list of the certificates that were taken back."""
        return self._folder / "revoked.crl"

    @property
    def staff_keys_file(self) -> Path:
        """PEM public key of who signs staff tokens here."""
        return self._folder / "staff.pub"

    def revoke(self, kind: str, name: str) -> bool:
        """Take back the certificate of a caller; services hear of it within seconds.

        Returns:
            False when the caller has no certificate.

        Raises:
            CallerUnknown: That is no name of a caller.
        """
        identity = Identity.parse(f"citycard://{kind}/{name}")
        path = self._folder / f"{identity.uri.removeprefix('citycard://').replace('/', '+')}.crt"
        with exclusive(self._lock):
            if not path.exists():
                return False
            serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            self._write_revoked([*self._revoked(), serial])
            # The next `issue` makes a new one.
            path.unlink()
        return True

    def staff_token(self, staff: str, roles: list[str], now: datetime, outlet: str | None = None) -> str:
        """A token of a person for one hour.

        Args:
            staff: Staff number.
            roles: clerk, supervisor, maker, checker, accountant, key_custodian.
            now: The time in the city.
            outlet: Where it is good; everywhere by default.

        Raises:
            ValueError: That is no role.
        """
        return self._staff.token(staff, [StaffRole(role) for role in roles], now, outlet=outlet)

    def _revoked(self) -> list[int]:
        if not self.revoked_file.exists():
            return []
        return [entry.serial_number for entry in x509.load_pem_x509_crl(self.revoked_file.read_bytes())]

    def _write_revoked(self, serials: list[int]) -> None:
        half = self.revoked_file.with_suffix(".new")
        half.write_bytes(self._authority.revoke(serials))
        half.replace(self.revoked_file)

    def issue_basic(self) -> None:
        """The certificates of all services and of the staff."""
        for service in SERVICES:
            self.issue("service", service)
        for kind, name in STAFF:
            self.issue(kind, name)

    def _good(self, path: Path) -> bool:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        authority = x509.load_pem_x509_certificate(self._authority.certificate)
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError):
            return False  # of an authority that was removed since
        # The machine's clock, whatever day the city lives on: TLS knows no other.
        return certificate.not_valid_after_utc > datetime.now(UTC) + _LIFE_LEFT_MIN
