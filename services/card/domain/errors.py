"""Why the card service says no: one class per value of `citycard.card.v1.ErrorReason`."""

from libs.errors import AlreadyExists, InvalidInput, NotFound, Refusal


class CardUnknown(NotFound):
    """There is no card of this number. Fact: `card`."""

    reason = "CARD_UNKNOWN"


class CardClosed(Refusal):
    """The card's account was settled; there is nothing left to protect. Fact: `card`."""

    reason = "CARD_CLOSED"


class CardStateForbids(Refusal):
    """The card's state does not allow this. Facts: `card`, `state`."""

    reason = "CARD_STATE_FORBIDS"


class CardExists(AlreadyExists):
    """The number is in the registry already. Fact: `card`."""

    reason = "CARD_EXISTS"


class CardNumberInvalid(InvalidInput):
    """The number is not one of its scheme. Fact: `card`."""

    reason = "CARD_NUMBER_INVALID"


class CardNotAtOutlet(Refusal):
    """The card lies at another outlet. Facts: `card`, `outlet` (the one that asked)."""

    reason = "CARD_NOT_AT_OUTLET"


class CardAnonymous(Refusal):
    """Nobody is known to own the card, so nobody can report it lost. Fact: `card`."""

    reason = "CARD_ANONYMOUS"


class CardExpired(Refusal):
    """The last day of validity has passed. Facts: `card`, `expiry`."""

    reason = "CARD_EXPIRED"


class ProductUnknown(NotFound):
    """There is no product of this name. Fact: `product`."""

    reason = "PRODUCT_UNKNOWN"


class ProductRulesContradict(InvalidInput):
    """The rules of the product contradict each other. Fact: `rule`."""

    reason = "PRODUCT_RULES_CONTRADICT"


class HolderRequired(Refusal):
    """The product wants a named holder. Fact: `product`."""

    reason = "HOLDER_REQUIRED"


class LoadUnknown(NotFound):
    """There is no such load. Fact: `load`."""

    reason = "LOAD_UNKNOWN"


class LoadStateForbids(Refusal):
    """The load's state does not allow this. Facts: `load`, `state`."""

    reason = "LOAD_STATE_FORBIDS"


class LoadStep(Refusal):
    """The amount is not a multiple of the product's step. Fact: `step_fen`."""

    reason = "LOAD_STEP"


class BalanceOverLimit(Refusal):
    """Balance and amount exceed the product's limit. Fact: `limit_fen`."""

    reason = "BALANCE_OVER_LIMIT"


class Mac1Wrong(Refusal):
    """The card's MAC1 does not fit its answer. Fact: `card`."""

    reason = "MAC1_WRONG"


class TacWrong(Refusal):
    """The TAC does not prove this load. Fact: `load`."""

    reason = "TAC_WRONG"


class LoadOpen(Refusal):
    """An earlier load of the card is open and this answer does not decide it. Fact: `load`."""

    reason = "LOAD_OPEN"


class OutletCreditExhausted(Refusal):
    """The outlet's credit does not cover the amount. Fact: `outlet`."""

    reason = "OUTLET_CREDIT_EXHAUSTED"


class KeyUnknown(Refusal):
    """The card's key version or algorithm is not one of the issuer's. Facts: `key_version`, `algorithm_id`."""

    reason = "KEY_UNKNOWN"


class LoadWasWritten(Refusal):
    """The card's own counter, or its answer 9000, shows that the load was written. Fact: `load`."""

    reason = "LOAD_WAS_WRITTEN"


class AnswerStale(Refusal):
    """The answer A is older than what the card has shown since. Fact: `card`."""

    reason = "ANSWER_STALE"
