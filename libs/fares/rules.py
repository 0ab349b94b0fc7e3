"""Rule packs: what a city charges, as data (card-lifecycle-and-fares.md, section 4).

A pack is a JSON document; `RulePack.from_dict` checks it once, so that evaluating never fails on a
bad rule. Within a step at most one rule may fit a ride: which of two applies is never a matter of order.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from typing import Any, Self

from libs.fares.errors import RulePackInvalid
from libs.fares.reader import Reader
from libs.money import half_up


class Step(Enum):
    """Steps of a price, in their order; the floor at 0 is the last and needs no rule."""

    CARD_TYPE = "card_type"
    MONTHLY = "monthly"
    TRANSFER = "transfer"


class Counter(Enum):
    """What a monthly tier looks at; each is what the card paid or rode before this trip."""

    METRO_PAID = "metro_paid"
    BUS_PAID = "bus_paid"
    PAID = "paid"
    TRIPS = "trips"


@dataclass(frozen=True, slots=True)
class Percent:
    """A share of the price, half up."""

    percent: int

    def price(self, price_fen: int) -> int:
        """The reduced price, in fen."""
        return half_up(price_fen * self.percent, 100)


@dataclass(frozen=True, slots=True)
class Brackets:
    """Marginal shares: each part of the price has its own percentage; rounded once, half up.

    Attributes:
        brackets: Upper bound of the part in fen (None for the last) and its percentage, ascending.
    """

    brackets: tuple[tuple[int | None, int], ...]

    def price(self, price_fen: int) -> int:
        """The reduced price, in fen."""
        hundredths, below = 0, 0
        for bound, percent in self.brackets:
            part = price_fen - below if bound is None else min(price_fen, bound) - below
            if part <= 0:
                break
            hundredths += part * percent
            below += part
        return half_up(hundredths, 100)


@dataclass(frozen=True, slots=True)
class Tiers:
    """A share that depends on what was paid or ridden this month before this trip; the whole trip has one share.

    Attributes:
        counter: What is looked at.
        tiers: First value of the counter that a tier holds for, and its percentage, ascending from 0.
        combined: Applies on top of the card type discount; otherwise only the better of the two applies.
    """

    counter: Counter
    tiers: tuple[tuple[int, int], ...]
    combined: bool

    def price(self, price_fen: int, counted: int) -> int:
        """The reduced price, in fen, for a card whose counter stands at `counted` before the trip."""
        percent = next(percent for start, percent in reversed(self.tiers) if counted >= start)
        return half_up(price_fen * percent, 100)


@dataclass(frozen=True, slots=True)
class AmountOff:
    """A transfer discount: an amount off, never below 0.

    Attributes:
        amount_fen: What is taken off.
        window_s: Longest time from the last paid tap to the next boarding or entry, inclusive to the second.
        chains: A ride that got the discount gives the next ride one too.
    """

    amount_fen: int
    window_s: int
    chains: bool

    def price(self, price_fen: int) -> int:
        """The reduced price, in fen."""
        return max(0, price_fen - self.amount_fen)


Pricing = Percent | Brackets | Tiers | AmountOff


@dataclass(frozen=True, slots=True)
class Rule:
    """One discount rule.

    Attributes:
        rule_id: 1 to 65,535, as in the record (`discount_rule`).
        name: As in the table of the page, such as `SZ_METRO_95`.
        step: Where it stands in the order.
        modes: JT industry codes that it holds for; None for any.
        main_types: Card main types that it holds for; None for any.
        pricing: The arithmetic.
        zh: Words for people.
        en: Words for people.
    """

    rule_id: int
    name: str
    step: Step
    modes: frozenset[int] | None
    main_types: frozenset[int] | None
    pricing: Pricing
    zh: str
    en: str

    def fits(self, mode: int, main_type: int) -> bool:
        """Tell whether the rule holds for a ride of this mode with this card main type."""
        return (self.modes is None or mode in self.modes) and (self.main_types is None or main_type in self.main_types)

    def overlaps(self, other: "Rule") -> bool:
        """Tell whether some ride fits both rules."""
        return _meet(self.modes, other.modes) and _meet(self.main_types, other.main_types)


@dataclass(frozen=True, slots=True)
class RulePack:
    """All discount rules of a city at one version.

    A card main type that no rule of a step names pays without that discount, so a type forgotten in a
    pack is charged the list price, not nothing.

    Attributes:
        name: Of the pack.
        version: Grows with every change; the low 16 bits stand in records.
        rules: In the order of the document.
        metro_modes: Modes whose fares add to the metro sum of the month.
        bus_modes: Modes whose fares add to the bus sum of the month.
    """

    name: str
    version: int
    rules: tuple[Rule, ...]
    metro_modes: frozenset[int]
    bus_modes: frozenset[int]

    def rule_for(self, step: Step, mode: int, main_type: int) -> Rule | None:
        """The one rule of a step that fits, or None."""
        return next((rule for rule in self.rules if rule.step is step and rule.fits(mode, main_type)), None)

    def rule(self, rule_id: int) -> Rule | None:
        """The rule with this id, or None."""
        return next((rule for rule in self.rules if rule.rule_id == rule_id), None)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read a pack from a JSON-able mapping; `packs/shenzhen.json` shows the form.

        Raises:
            RulePackInvalid: Something is missing, unknown, of a wrong type or out of range, an id is used
                twice, or two rules of one step fit the same ride.
        """
        pack = Reader(document, "pack")
        version = pack.integer("version", 1, 0xFFFFFFFF)
        rules = tuple(_rule(each) for each in pack.readers("rules"))
        built = cls(
            name=pack.text("name"),
            version=version,
            rules=rules,
            metro_modes=pack.codes("metro_modes") or frozenset(),
            bus_modes=pack.codes("bus_modes") or frozenset(),
        )
        pack.finish()
        for index, rule in enumerate(rules):
            for other in rules[:index]:
                if rule.rule_id == other.rule_id:
                    raise RulePackInvalid(where=rule.name, fault="RULE_ID_TWICE", found=rule.rule_id)
                if rule.step is other.step and rule.overlaps(other):
                    raise RulePackInvalid(where=rule.name, fault="AMBIGUOUS", found=other.name)
        return built


def load_pack(name: str) -> RulePack:
    """Read one of the packs that come with the library, such as `shenzhen`.

    Raises:
        RulePackInvalid: There is no such pack.
    """
    source = resources.files("libs.fares").joinpath("packs", f"{name}.json")
    if not name.isidentifier() or not source.is_file():
        raise RulePackInvalid(where="pack", fault="NO_SUCH_PACK", found=name)
    return RulePack.from_dict(json.loads(source.read_text(encoding="utf-8")))


def _meet(one: frozenset[int] | None, other: frozenset[int] | None) -> bool:
    return one is None or other is None or not one.isdisjoint(other)


def _rule(reader: Reader) -> Rule:
    name = reader.text("name")
    reader.where = name
    step = reader.choice("step", Step)
    rule = Rule(
        rule_id=reader.integer("id", 1, 0xFFFF),
        name=name,
        step=step,
        modes=reader.codes("modes"),
        main_types=reader.codes("main_types"),
        pricing=_PRICING[step](reader),
        zh=reader.text("zh"),
        en=reader.text("en"),
    )
    reader.finish()
    return rule


def _card_type(reader: Reader) -> Pricing:
    if reader.has("percent"):
        return Percent(reader.integer("percent", 0, 100))
    brackets: list[tuple[int | None, int]] = []
    below = 0
    for each in reader.readers("brackets"):
        if brackets and brackets[-1][0] is None:
            raise each.wrong("up_to_fen", "AFTER_THE_LAST", None)
        bound = each.integer("up_to_fen", below + 1, 0xFFFFFFFF) if each.has("up_to_fen") else None
        brackets.append((bound, each.integer("percent", 0, 100)))
        each.finish()
        below = bound or below
    if not brackets or brackets[-1][0] is not None:
        raise reader.wrong("brackets", "LAST_MUST_BE_OPEN", None)
    return Brackets(tuple(brackets))


def _monthly(reader: Reader) -> Pricing:
    counter = reader.choice("counter", Counter)
    tiers: list[tuple[int, int]] = []
    for each in reader.readers("tiers"):
        low, high = (tiers[-1][0] + 1, 0xFFFFFFFF) if tiers else (0, 0)
        tiers.append((each.integer("from", low, high), each.integer("percent", 0, 100)))
        each.finish()
    if not tiers:
        raise reader.wrong("tiers", "EMPTY", None)
    return Tiers(counter, tuple(tiers), reader.flag("combined") if reader.has("combined") else False)


def _transfer(reader: Reader) -> Pricing:
    return AmountOff(
        amount_fen=reader.integer("amount_off_fen", 1, 0xFFFFFFFF),
        window_s=reader.integer("window_s", 1, 24 * 3600),
        chains=reader.flag("chains"),
    )


_PRICING = {Step.CARD_TYPE: _card_type, Step.MONTHLY: _monthly, Step.TRANSFER: _transfer}
