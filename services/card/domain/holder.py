"""The person behind a registered card."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Holder:
    """Name and certificate of a holder; never in a log, an event or a repr (card-lifecycle-and-fares.md, section 8).

    Attributes:
        display_name: As in the certificate.
        certificate_type: Two digits, 00 ID card to 04 temporary ID (card-files.md, section 3).
        certificate_number: Up to 32 characters.
    """

    display_name: str = field(repr=False)
    certificate_type: str = field(repr=False)
    certificate_number: str = field(repr=False)
