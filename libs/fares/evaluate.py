"""One ride's price, step by step, with the words for each step (card-lifecycle-and-fares.md, section 4).

Order [convention]: list price, card type discount, monthly tier, transfer, floor 0. Of card type
discount and monthly tier only the better one applies, unless the tier is combined.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from libs.fares.rules import AmountOff, Counter, Rule, RulePack, Step, Tiers
from libs.fares.state import FRESH, DiscountState, month_of


@dataclass(frozen=True, slots=True)
class Tap:
    """What a ride is charged by.

    Attributes:
        mode: JT industry code of the ride: 1 metro, 2 bus (card-files.md, section 8).
        main_type: Card main type: 1 ordinary, 2 student and so on.
        list_price_fen: Before discounts, zero or more.
        at: When it is paid (bus: boarding, metro: exit), aware.
        line: 6 digits.
        boarded_at: Boarding or entry, where that is not `at`: what a transfer window ends at.
        state: What the card remembers; fresh by default.
        transfer: The mark of a record, which an audit takes as given; None lets the state decide.
    """

    mode: int
    main_type: int
    list_price_fen: int
    at: datetime
    line: str = "000000"
    boarded_at: datetime | None = None
    state: DiscountState = FRESH
    transfer: bool | None = None


@dataclass(frozen=True, slots=True)
class ChargeStep:
    """One step of a charge.

    Attributes:
        rule_id: 0 for the list price.
        zh: Words for people.
        en: Words for people.
        amount_fen: What is to pay after this step.
    """

    rule_id: int
    zh: str
    en: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What a ride costs and why.

    Attributes:
        amount_fen: What the card pays.
        list_price_fen: Before discounts.
        rule_id: For the record's `discount_rule`: the card type rule or monthly tier that made the price, 0 for none.
        transfer_discount: For flag b3 of the record.
        steps: In order, from the list price on.
    """

    amount_fen: int
    list_price_fen: int
    rule_id: int
    transfer_discount: bool
    steps: tuple[ChargeStep, ...]


def evaluate(pack: RulePack, tap: Tap) -> Charge:
    """Charge one ride.

    The state is taken as zeros if it is of another month than the payment.
    """
    assert tap.list_price_fen >= 0, "a list price is never negative"
    state = tap.state.in_month(month_of(tap.at))
    amount = tap.list_price_fen
    steps = [ChargeStep(0, "应收票价", "list price", amount)]
    for rule, priced in _discounts(pack, tap, state):
        amount = priced
        steps.append(ChargeStep(rule.rule_id, rule.zh, rule.en, amount))
    rule_id = steps[-1].rule_id
    transfer = pack.rule_for(Step.TRANSFER, tap.mode, tap.main_type)
    discounted = transfer is not None and _entitled(transfer, tap, state)
    if transfer is not None and discounted:
        assert isinstance(transfer.pricing, AmountOff), "the reader of packs gives transfers no other pricing"
        amount = transfer.pricing.price(amount)
        steps.append(ChargeStep(transfer.rule_id, transfer.zh, transfer.en, amount))
    return Charge(amount, tap.list_price_fen, rule_id, discounted, tuple(steps))


def next_state(pack: RulePack, tap: Tap, charge: Charge) -> DiscountState:
    """What the card remembers after the ride was paid.

    A free ride is no paid tap: it opens no transfer window, but it counts as a trip and it uses up the
    transfer discount that made it free.
    """
    state = tap.state.in_month(month_of(tap.at))
    paid = charge.amount_fen
    metro, bus = tap.mode in pack.metro_modes, tap.mode in pack.bus_modes
    state = replace(
        state,
        metro_paid_fen=state.metro_paid_fen + (paid if metro else 0),
        bus_paid_fen=state.bus_paid_fen + (paid if bus else 0),
        trips=state.trips + (1 if metro or bus else 0),
        transfer_used=state.transfer_used or charge.transfer_discount,
    )
    if paid == 0:
        return state
    transfer = pack.rule_for(Step.TRANSFER, tap.mode, tap.main_type)
    gives_none = (
        charge.transfer_discount
        and transfer is not None
        and isinstance(transfer.pricing, AmountOff)
        and not transfer.pricing.chains
    )
    return replace(
        state,
        last_mode=tap.mode,
        last_line=tap.line,
        last_paid_at=tap.at.replace(microsecond=0),
        last_amount_fen=paid,
        transfer_used=gives_none,
    )


def within_window(previous: datetime, now: datetime, window_s: int) -> bool:
    """Tell whether a boarding or entry is in the transfer window of the last paid tap.

    Inclusive to the second at both ends; a clock that runs backwards gives no discount.
    """
    waited = now.replace(microsecond=0) - previous.replace(microsecond=0)
    return timedelta(0) <= waited <= timedelta(seconds=window_s)


def _discounts(pack: RulePack, tap: Tap, state: DiscountState) -> list[tuple[Rule, int]]:
    """The rules of the first two steps that apply, each with the price after it."""
    price = tap.list_price_fen
    by_type = pack.rule_for(Step.CARD_TYPE, tap.mode, tap.main_type)
    by_month = pack.rule_for(Step.MONTHLY, tap.mode, tap.main_type)
    applied: list[tuple[Rule, int]] = []
    if by_type is not None:
        assert not isinstance(by_type.pricing, Tiers), "the reader of packs gives card types no tiers"
        applied.append((by_type, by_type.pricing.price(price)))
    if by_month is None:
        return applied
    tiers = by_month.pricing
    assert isinstance(tiers, Tiers), "the reader of packs gives months nothing but tiers"
    counted = _counted(tiers.counter, state)
    if not applied:
        return [(by_month, tiers.price(price, counted))]
    if tiers.combined:
        return [*applied, (by_month, tiers.price(applied[-1][1], counted))]
    tiered = tiers.price(price, counted)
    return [(by_month, tiered)] if tiered < applied[-1][1] else applied


def _counted(counter: Counter, state: DiscountState) -> int:
    if counter is Counter.TRIPS:
        return state.trips
    metro = state.metro_paid_fen if counter is not Counter.BUS_PAID else 0
    return metro + (state.bus_paid_fen if counter is not Counter.METRO_PAID else 0)


def _entitled(rule: Rule, tap: Tap, state: DiscountState) -> bool:
    if tap.transfer is not None:
        return tap.transfer
    assert isinstance(rule.pricing, AmountOff), "the reader of packs gives transfers no other pricing"
    if state.last_paid_at is None or state.transfer_used:
        return False
    # Not for the same line; one number may be a bus line and a metro line.
    if (state.last_mode, state.last_line) == (tap.mode, tap.line):
        return False
    boarded = tap.at if tap.boarded_at is None else tap.boarded_at
    return within_window(state.last_paid_at, boarded, rule.pricing.window_s)
