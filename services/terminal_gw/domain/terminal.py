"""Terminals and their security modules."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.terminal_gw.domain.device import Pairing
from services.terminal_gw.domain.errors import PsamInUse, PsamMismatch, PsamRevoked, TerminalExists


@dataclass(frozen=True, slots=True)
class TerminalSpec:
    """What is registered of a terminal.

    Attributes:
        terminal_number: 12 digits, PSAM file 0016.
        psam_number: 20 digits, PSAM file 0015.
        operator_number: Operator in its records.
        device_number: Machine that the PSAM sits in.
        industry_code: 4 hexadecimal digits (card-files.md, section 8).
        pair_time: From when on the PSAM is in this machine; None: from the registration on.
        pair_until_time: Until when, exclusive; None: open.
    """

    terminal_number: str
    psam_number: str
    operator_number: int
    device_number: int
    industry_code: str
    pair_time: datetime | None = None
    pair_until_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Terminal:
    """A registered terminal.

    Attributes:
        spec: What was registered.
        participant: Its owner, without `participants/`.
        register_time: When it was registered.
        psam_revoke_time: From when on what its PSAM signs is not paid; None while it is good.
        sign_in_time: Last time it signed in; None before the first.
        pairing: The newest that has begun; None when it was not read or none has.
    """

    spec: TerminalSpec
    participant: str
    register_time: datetime
    psam_revoke_time: datetime | None = None
    sign_in_time: datetime | None = None
    pairing: Pairing | None = None

    def must_carry(self, psam_number: str, at: datetime) -> None:
        """Let pass the PSAM that belongs into this terminal, while it is good.

        Raises:
            PsamMismatch: Another PSAM is registered.
            PsamRevoked: It was revoked at or before this moment.
        """
        if psam_number != self.spec.psam_number:
            raise PsamMismatch(psam=psam_number, terminal=self.spec.terminal_number)
        if self.psam_revoke_time is not None and self.psam_revoke_time <= at:
            raise PsamRevoked(psam=psam_number)

    def revoke_psam(self, at: datetime) -> "Terminal":
        """Revoke the PSAM from a moment on; an earlier revocation stands, a later one moves ahead."""
        if self.psam_revoke_time is not None and self.psam_revoke_time <= at:
            return self
        return replace(self, psam_revoke_time=at)


def distinct(specs: Iterable[TerminalSpec]) -> Sequence[TerminalSpec]:
    """The terminals of one request by number, each once.

    Raises:
        TerminalExists: One number with two sets of facts.
    """
    by_number: dict[str, TerminalSpec] = {}
    for spec in specs:
        if by_number.setdefault(spec.terminal_number, spec) != spec:
            raise TerminalExists(terminal=spec.terminal_number)
    return [by_number[number] for number in sorted(by_number)]


def check_psams(specs: Iterable[TerminalSpec]) -> None:
    """Let pass terminals of which no two share a PSAM.

    Raises:
        PsamInUse: Naming the terminal that has it first.
    """
    by_psam: dict[str, str] = {}
    for spec in specs:
        other = by_psam.setdefault(spec.psam_number, spec.terminal_number)
        if other != spec.terminal_number:
            raise PsamInUse(psam=spec.psam_number, terminal=other)
