"""Products: the kinds of card that the city sells or rents, with rules (card-lifecycle-and-fares.md, section 2)."""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from services.card.domain.errors import BalanceOverLimit, LoadStep, ProductRulesContradict

# The card holds a balance in 4 bytes (purse-protocol.md, section 2), and the schema bounds one load to the same.
_BALANCE_LIMIT_MAX_FEN = 100_000_000
_VALIDITY_DAYS_MAX = 36_525


class ProductKind(StrEnum):
    """What kind of card a product makes; the values are those of the contract."""

    ANONYMOUS = "ANONYMOUS"
    REGISTERED = "REGISTERED"
    CONCESSION = "CONCESSION"
    STAFF = "STAFF"
    SOUVENIR = "SOUVENIR"
    TEST = "TEST"


_HOLDER_KINDS = frozenset({ProductKind.REGISTERED, ProductKind.CONCESSION, ProductKind.STAFF})


@dataclass(frozen=True, slots=True)
class Product:
    """One version of a product; a change is a new version.

    Attributes:
        name: Small letters, digits and dashes, without `products/`.
        version: From 1.
        display_name_zh: Shown to clerks, Chinese.
        display_name_en: Shown to clerks, English.
        kind: Kind of card; None when the request named none.
        card_main_type: Card main type of the record, 1 to 255 (card-files.md, section 8).
        deposit_fen: Deposit of a rented card; 0 when sold.
        price_fen: Price of a sold card; 0 when rented.
        load_step_fen: Loads are a multiple of this.
        balance_limit_fen: Highest balance of the purse.
        validity_days: Days from issue to expiry.
        create_time: When this version was made.
    """

    name: str
    version: int
    display_name_zh: str
    display_name_en: str
    kind: ProductKind | None
    card_main_type: int
    deposit_fen: int
    price_fen: int
    load_step_fen: int
    balance_limit_fen: int
    validity_days: int
    create_time: datetime

    def check_rules(self) -> None:
        """Refuse rules under which no card could be sold or loaded.

        Raises:
            ProductRulesContradict: Naming the first rule that is broken.
        """
        rules = {
            "a product has a kind": self.kind is not None,
            "a product has a name in Chinese and in English": bool(self.display_name_zh and self.display_name_en),
            "card_main_type is 1 to 255": 1 <= self.card_main_type <= 255,
            "deposit_fen and price_fen are not negative": self.deposit_fen >= 0 and self.price_fen >= 0,
            "a card is rented or sold: deposit_fen or price_fen is 0": not (self.deposit_fen and self.price_fen),
            "load_step_fen is above 0": self.load_step_fen > 0,
            "balance_limit_fen is at least one load_step_fen": self.balance_limit_fen >= self.load_step_fen,
            f"balance_limit_fen is at most {_BALANCE_LIMIT_MAX_FEN}": self.balance_limit_fen <= _BALANCE_LIMIT_MAX_FEN,
            f"validity_days is 1 to {_VALIDITY_DAYS_MAX}": 1 <= self.validity_days <= _VALIDITY_DAYS_MAX,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ProductRulesContradict(rule=rule)

    @property
    def needs_holder(self) -> bool:
        """Whether a card of it is only issued to a named holder."""
        return self.kind in _HOLDER_KINDS

    def expiry(self, start: date) -> date:
        """Last day of validity of a card issued on `start`."""
        return start + timedelta(days=self.validity_days)

    def check_amount(self, card_balance_fen: int, amount_fen: int) -> None:
        """Check a load against the *card's* balance in answer A, not the ledger's (section 3).

        Raises:
            LoadStep: The amount is not a multiple of the step.
            BalanceOverLimit: The purse would hold too much.
        """
        if amount_fen % self.load_step_fen:
            raise LoadStep(step_fen=self.load_step_fen)
        self.check_balance(card_balance_fen + amount_fen)

    def check_balance(self, balance_fen: int) -> None:
        """Check that a purse may hold this.

        Raises:
            BalanceOverLimit: It may not.
        """
        if balance_fen > self.balance_limit_fen:
            raise BalanceOverLimit(limit_fen=self.balance_limit_fen)

    def numbered(self, version: int, at: datetime) -> "Product":
        """The same rules as a version made at `at`."""
        return replace(self, version=version, create_time=at)
