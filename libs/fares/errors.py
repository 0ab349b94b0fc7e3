"""What can be wrong with a rule pack, a price table or a state read from a card."""

from libs.errors import InvalidInput, NotFound


class RulePackInvalid(InvalidInput):
    """A rule pack cannot be used; facts: `where`, `fault`, `found`."""

    reason = "RULE_PACK_INVALID"


class RulePackNeedsState(InvalidInput):
    """A pack charges by what a card paid before, which columns of records do not know; facts: `pack`, `rule`."""

    reason = "RULE_PACK_NEEDS_STATE"


class FareUnknown(NotFound):
    """No list price for this ride; facts: `line`, `from_stop`, `to_stop`."""

    reason = "FARE_UNKNOWN"


class DiscountStateUnreadable(InvalidInput):
    """The discount state of a card is not one; facts: `fault`. A terminal goes on with a state of zeros."""

    reason = "DISCOUNT_STATE_UNREADABLE"
