"""Fees of a line of a statement by class (clearing-and-ledger.md, section 4): rounded once per line and class."""

from dataclasses import dataclass

from libs.money import half_up
from services.clearing.domain.participant import Participant
from services.clearing.domain.terms import Terms

_BP = 10_000
CENTRE_FEE = "centre"


@dataclass(frozen=True, slots=True)
class Fee:
    """One fee of one line.

    Attributes:
        fee_class: `fare`, `centre`, `one_card` or `service`.
        rule: Number of the rule; 0 for the rate of the registration.
        payee: Id of the participant that gets it; empty for the centre.
    """

    fee_class: str
    rule: int
    payee: str
    amount_fen: int


def fee_of(gross_fen: int, rate_bp: int) -> int:
    """Fee of one line, half up, once per line (clearing-and-ledger.md, section 4)."""
    return half_up(gross_fen * rate_bp, _BP)


def fees_of_line(
    participant: Participant, terms: Terms, issuer: str, operator: int, gross_fen: int, record_count: int
) -> tuple[Fee, ...]:
    """The fees of one line: by the schedule where the participant has one, else by the rate of its registration.

    Of one class the first rule that fits counts.
    """
    if not terms.fees:
        return (Fee(CENTRE_FEE, 0, "", fee_of(gross_fen, participant.fee_rate_bp)),)
    chosen = {}
    for rule in terms.fees:
        if rule.fits(issuer, operator) and rule.fee_class not in chosen:
            chosen[rule.fee_class] = rule
    return tuple(Fee(name, rule.id, rule.payee, rule.of_line(gross_fen, record_count)) for name, rule in chosen.items())
