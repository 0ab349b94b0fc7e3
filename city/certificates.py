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
