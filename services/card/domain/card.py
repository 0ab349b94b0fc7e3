"""One card and what may be done to it (card-lifecycle-and-fares.md, sections 1 to 3)."""

import re
from dataclasses import dataclass, replace
from datetime import date, datetime

from services.card.domain.errors import (
    CardAnonymous,
    CardExpired,
    CardNotAtOutlet,
    CardNumberInvalid,
    CardStateForbids,
    HolderRequired,
)
from services.card.domain.events import CardEvent, CardLossCancelled, CardLossReported, CardsIssued
from services.card.domain.product import Product
from services.card.domain.states import MAY_LOAD, CardState, Verb, forbidden, state_after

# CJ: 8 bytes right-aligned in 10. JT: a 0 nibble, then 19 digits that start with 31 (card-files.md, section 4).
_NUMBER = re.compile(r"cj-0000[0-9]{16}|jt-031[0-9]{17}", re.ASCII)


def check_number(number: str) -> None:
    """Check that a number is one of its scheme. The Luhn digit is not asked for: foreign cards may lack it.

    Raises:
        CardNumberInvalid: It is not.
    """
    if not _NUMBER.fullmatch(number):
        raise CardNumberInvalid(card=number)


@dataclass(frozen=True, slots=True)
class Card:
    """One card in one generation of its life.

    Attributes:
        number: Canonical text form, scheme and 20 digits (card-files.md, section 4).
        generation: Counts the lives of this number, from 1.
        state: Where it is.
        product: Name of the product it was made as.
        product_version: Under whose terms it was issued; 0 before.
        issuer_id: 16 hexadecimal digits.
        key_version: Written at personalisation.
        algorithm_id: Written at personalisation.
        outlet: Name of the outlet that holds or issued it.
        printed_number: On the card; empty when none.
        opening_fen: On the chip when it was issued.
        deposit_fen: Held for it now.
        price_fen: Taken for it.
        registered: Whether a holder is known.
        start_date: First day of validity; None before issue.
        expiry_date: Last day of validity; None before issue.
        create_time: When it came to stock.
        state_time: When the state last changed.
        issue_time: None before issue.
    """

    number: str
    generation: int
    state: CardState
    product: str
    product_version: int
    issuer_id: str
    key_version: int
    algorithm_id: int
    outlet: str
    printed_number: str
    opening_fen: int
    deposit_fen: int
    price_fen: int
    registered: bool
    start_date: date | None
    expiry_date: date | None
    create_time: datetime
    state_time: datetime
    issue_time: datetime | None

    @property
    def scheme(self) -> str:
        """`cj` or `jt`."""
        return self.number[:2]

    @property
    def purse(self) -> str:
        """Name of its purse in the ledger, `jt-….1`."""
        return f"{self.number}.{self.generation}"

    def issue(
        self, product: Product, *, outlet: str, with_holder: bool, at: datetime, today: date
    ) -> tuple["Card", list[CardEvent]]:
        """Sell or rent it over the counter (售卡/租卡), with nothing on the chip yet.

        Args:
            product: The newest version of the card's product: its terms hold from now on.
            outlet: Who issues.
            with_holder: Whether a holder is named.
            at: Now.
            today: The city's date, first day of validity.

        Raises:
            CardStateForbids: It is not in stock.
            CardNotAtOutlet: It lies elsewhere.
            HolderRequired: The product wants a holder.
        """
        # Not `state_after`: to somebody who sells, a closed card is just one that is not in stock.
        if self.state is not CardState.STOCK:
            raise CardStateForbids(card=self.number, state=self.state)
        if self.outlet != outlet:
            raise CardNotAtOutlet(card=self.number, outlet=outlet)
        if product.needs_holder and not with_holder:
            raise HolderRequired(product=product.name)
        expiry = product.expiry(today)
        issued = replace(
            self._moved(Verb.ISSUE, at),
            product_version=product.version,
            deposit_fen=product.deposit_fen,
            price_fen=product.price_fen,
            registered=with_holder,
            start_date=today,
            expiry_date=expiry,
            issue_time=at,
        )
        event = CardsIssued(
            numbers=(self.number,),
            generations=(self.generation,),
            opening_balances_fen=(0,),
            deposits_fen=(product.deposit_fen,),
            issuer_id=self.issuer_id,
            key_version=self.key_version,
            algorithm_id=self.algorithm_id,
            card_main_type=product.card_main_type,
            product=product.name,
            outlet=outlet,
            price_fen=product.price_fen,
            start_date=today,
            expiry_date=expiry,
            issue_time=at,
        )
        return issued, [event]

    def report_loss(self, at: datetime) -> tuple["Card", list[CardEvent]]:
        """Move to LOST and freeze the balance (挂失).

        Returns the card and no event when it is already lost: reporting twice is what worried people do, not an error.

        Raises:
            CardClosed: The account was settled; there is nothing left to protect.
            CardStateForbids: Nobody holds it.
            CardAnonymous: It belongs to the bearer.
        """
        if self.state is CardState.LOST:
            return self, []
        lost = self._moved(Verb.REPORT_LOSS, at)
        if not self.registered:
            raise CardAnonymous(card=self.number)
        return lost, [CardLossReported(self.number, self.generation, at)]

    def cancel_loss_report(self, at: datetime) -> tuple["Card", list[CardEvent]]:
        """Move back to ACTIVE (解挂).

        Raises:
            CardClosed: The account was settled.
            CardStateForbids: It is not lost.
        """
        found = self._moved(Verb.CANCEL_LOSS_REPORT, at)
        return found, [CardLossCancelled(self.number, self.generation, at)]

    def check_load(self, product: Product, *, card_balance_fen: int, amount_fen: int, today: date) -> None:
        """Check that a load may begin. The product's newest limits hold, also for cards issued under older ones.

        Raises:
            CardClosed: The account was settled.
            CardStateForbids: Only an active card loads.
            CardExpired: Its last day has passed.
            LoadStep: The amount is not a multiple of the step.
            BalanceOverLimit: The purse would hold too much.
        """
        if self.state not in MAY_LOAD:
            raise forbidden(self.number, self.state)
        if self.expiry_date is not None and today > self.expiry_date:
            raise CardExpired(card=self.number, expiry=self.expiry_date)
        product.check_amount(card_balance_fen, amount_fen)

    def _moved(self, verb: Verb, at: datetime) -> "Card":
        return replace(self, state=state_after(self.number, self.state, verb), state_time=at)
