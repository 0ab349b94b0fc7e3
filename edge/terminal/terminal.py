"""A terminal: card in, record out, nothing online (purse-protocol.md, sections 3.2 to 3.4 and 3.7).

It takes one card at a time. What it needs of the world is handed in: card and security module as transceivers, a clock,
a journal, a blacklist. It is the same object in a city of thousands and in front of a real reader.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge.terminal.blacklist import Listed, TerminalBlacklist
from edge.terminal.hints import DEFAULT_RULES, Hint, HintRules, hints
from edge.terminal.journal import Journal
from edge.terminal.record import TapFacts, TerminalFacts, make_record
from edge.terminal.refusals import CardBlocked, CardExpired, CardForeign, CardJustTapped, CardListed, CardNotEnabled
from libs.clock import Clock
from libs.purse import terminal as dialogue
from libs.purse.fields import amount_bytes, stamp_bytes
from libs.purse.inspect import AIDS, CardView, select
from libs.purse.scheme import Scheme
from libs.purse.terminal import AnswerB, CappWrite, Finding, Purchase, Torn
from libs.purse.transceiver import CardGone, CardRefused, Transceiver, demand
from libs.records.bcd import LOCAL_TIME
from libs.records.blacklist_file import Mode
from libs.records.codes import Kind
from libs.records.numbers import CardClass
from libs.records.otr import Flag

_SFI_TRANSIT_LOG = 0x1E
_READ_MAIN_TYPE = bytes.fromhex("00B0960001")
_CLASSES = {Scheme.CJ: CardClass.CPU_CJ, Scheme.JT: CardClass.CPU_JT}
# Type byte of the transit log (card-files.md, section 3).
_TRANSIT_TYPE = {Kind.ENTRY: 0x03, Kind.EXIT: 0x04, Kind.PURCHASE: 0x06, Kind.CORRECTION: 0x08}


@dataclass(frozen=True, slots=True)
class Price:
    """What a tap costs.

    Attributes:
        amount_fen: What the card pays.
        list_price_fen: Before discounts.
        discount_rule: For the record; 0 none.
        transfer_discount: Flag b3 of the record.
    """

    amount_fen: int
    list_price_fen: int
    discount_rule: int = 0
    transfer_discount: bool = False


FREE = Price(0, 0)

Pricing = Callable[[CardView, int], Price]
"""The price of a tap for a card and its main type."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A tap that let the person through.

    Attributes:
        record: 128 bytes, as it lies in the journal.
        purchase: The dialogue behind it.
        price: What it cost.
        recovered: The tap finished a debit that an earlier one had begun; the card paid once.
        hints: What the display should add.
    """

    record: bytes
    purchase: Purchase
    price: Price
    recovered: bool = False
    hints: tuple[Hint, ...] = ()

    @property
    def balance_after_fen(self) -> int:
        """The holder's money after the tap; negative when the overdraft is in use."""
        return self.purchase.answer.real_balance_fen - self.purchase.amount_fen


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a debit is for; kept while it is torn."""

    kind: Kind
    main_type: int
    price: Price


class Terminal:
    """One terminal with its security module.

    Args:
        facts: What it is.
        sam: Its security module.
        journal: Keeps its records.
        clock: Its own clock; it may be wrong, and the blacklist goes by it.
        blacklist: The list it was last given; shared by the readers of one device.
        parameter_version: Of its fares, for the record.
        aids: Applications that it takes, by preference.
        double_tap_s: A card that was let through is not asked again for so long (card-lifecycle-and-fares.md,
            section 4); 0 for never.
        hint_rules: When to hint at a low balance and a near expiry.
    """

    __slots__ = (
        "_aids", "_asked", "_clock", "_double_tap", "_hint_rules", "_just_tapped", "_parameter_version", "_sam",
        "_torn", "blacklist", "facts", "journal",
    )  # fmt: skip

    def __init__(
        self,
        facts: TerminalFacts,
        sam: Transceiver,
        journal: Journal,
        clock: Clock,
        blacklist: TerminalBlacklist,
        *,
        parameter_version: int = 0,
        aids: Sequence[bytes] = tuple(AIDS),
        double_tap_s: float = 3.0,
        hint_rules: HintRules = DEFAULT_RULES,
    ) -> None:
        self.facts = facts
        self.journal = journal
        self.blacklist = blacklist
        self._sam = sam
        self._clock = clock
        self._parameter_version = parameter_version
        self._aids = tuple(aids)
        self._double_tap = timedelta(seconds=double_tap_s)
        self._hint_rules = hint_rules
        # Cards let through within the last seconds, so few.
        self._just_tapped: dict[bytes, datetime] = {}
        self._asked: _Asked | None = None
        self._torn: Purchase | None = None

    def pay(self, card: Transceiver, pricing: Pricing) -> Tap:
        """A single purchase: kind 01, a bus with one tap.

        Raises:
            CardListed, CardBlocked, CardForeign, CardNotEnabled, CardExpired, MoneyNotEnough: The card is refused.
            CardJustTapped: It was let through a moment ago; the gate is open.
            JournalFull, CardGone, CardRefused: It was not debited.
            Torn: It may have been; the next tap of the same card at this terminal decides it and debits nothing twice.
        """
        return self._tap(card, Kind.PURCHASE, pricing)

    def enter(self, card: Transceiver, pricing: Pricing = lambda view, main_type: FREE) -> Tap:
        """The entry of a trip: kind 02, a complex purchase, mostly of nothing; raises as `pay`."""
        return self._tap(card, Kind.ENTRY, pricing)

    def leave(self, card: Transceiver, pricing: Pricing) -> Tap:
        """The exit of a trip: kind 03, a complex purchase of the fare; raises as `pay`."""
        return self._tap(card, Kind.EXIT, pricing)

    def _tap(self, card: Transceiver, kind: Kind, pricing: Pricing) -> Tap:
        if self._torn is not None:
            finished = self._settle_torn(card, self._torn)
            if finished is not None:
                return finished
        view = self._admit(card)
        main_type = demand(card, _READ_MAIN_TYPE, size=1)[0]
        price = pricing(view, main_type)
        self._asked = _Asked(kind, main_type, price)
        kept: list[bytes] = []
        at = self._clock.now()
        # A simple purchase of nothing does not exist on cards in service; a complex one does.
        with_trip = kind is not Kind.PURCHASE or price.amount_fen == 0

        def writes(answer: AnswerB) -> Sequence[CappWrite]:
            return (CappWrite.append(_SFI_TRANSIT_LOG, self._transit_record(kind, answer, price, stamp_bytes(at))),)

        try:
            purchase = dialogue.purchase(
                card,
                self._sam,
                view,
                price.amount_fen,
                terminal=self.facts.terminal_packed,
                at=at,
                journal=lambda made: kept.append(self._keep(made)),
                writes=writes if with_trip else None,
            )
        except Torn as torn:
            self._torn = torn.purchase
            raise
        except CardRefused:
            # The debit itself was refused after the grey record was kept: nothing was written on the card.
            if kept:
                self.journal.drop()
            raise
        return self._through(kept[-1], purchase, price)

    def _admit(self, card: Transceiver) -> CardView:
        """Select the card's application and decide whether it may pay here and now."""
        view = None
        for aid in self._aids:
            view = select(card, aid)
            if view is not None:
                break
        if view is None:
            raise CardForeign
        if view.blocked:
            raise CardBlocked
        now = self._clock.now()
        before = self._just_tapped.get(view.number)
        # A clock set back must not open the guard, nor keep it shut for long.
        if before is not None and abs(now - before) < self._double_tap:
            raise CardJustTapped(within_s=self._double_tap.total_seconds())
        listed = self.blacklist.find(view.number, now)
        if listed is not None:
            raise CardListed(list_reason=listed.reason.name, locked="yes" if self._lock(card, view, listed) else "no")
        today = stamp_bytes(now)[:4]
        if not view.enabled or today < view.start:
            raise CardNotEnabled(start=view.start.hex())
        if today > view.expiry:
            raise CardExpired(expiry=view.expiry.hex())
        return view

    def _lock(self, card: Transceiver, view: CardView, listed: Listed) -> bool:
        """Lock a listed card where the list says so, and write a record of it (kind 07)."""
        if listed.mode is not Mode.LOCK:
            return False
        try:
            main_type = demand(card, _READ_MAIN_TYPE, size=1)[0]
            dialogue.lock_card(card, self._sam, view)
        except (CardGone, CardRefused):
            # It left too early, or the module has no lock key for it: refused all the same, and met again somewhere.
            return False
        facts = TapFacts(
            kind=Kind.CARD_LOCKED,
            card_class=_CLASSES[view.scheme],
            algorithm_id=0,
            key_version=0,
            key_index=0,
            issuer=view.issuer,
            card_number=view.number,
            card_city=view.city,
            card_main_type=main_type,
            terminal_seq=0,
            card_counter=0,
            tti=0,
            balance_before_fen=0,
            amount_fen=0,
            list_price_fen=0,
            stamp=stamp_bytes(self._clock.now()),
            tac=bytes(4),
            discount_rule=0,
            flags=Flag.CARD_LOCKED | Flag.BLACKLIST_HIT,
            blacklist_version=self.blacklist.version,
            parameter_version=self._parameter_version,
        )
        self.journal.finish(make_record(self.facts, facts, self.journal.next_seq()))
        return True

    def _settle_torn(self, card: Transceiver, grey: Purchase) -> Tap | None:
        """Decide the debit that the last tap left open (section 3.4); a tap that it finishes is answered.

        Raises:
            CardGone, CardRefused: Nothing was decided; the grey record stays open.
        """
        assert self._asked is not None, "a debit is torn only after it was asked for"
        kept: list[bytes] = []
        finding, purchase = dialogue.recover(card, self._sam, grey, lambda made: kept.append(self._keep(made)))
        self._torn = None
        if finding is Finding.DONE:
            return self._through(kept[-1], purchase, self._asked.price, recovered=True)
        if finding is Finding.NOT_DONE:
            self.journal.drop()
            return None
        # It goes up as it is: grey, kind 08. The centre decides by the card's later records.
        record = self._record(grey, self.journal.next_seq())
        self.journal.finish(record)
        if finding is Finding.DONE_WITHOUT_PROOF:
            return self._through(record, grey, self._asked.price, recovered=True)
        return None

    def _through(self, record: bytes, purchase: Purchase, price: Price, *, recovered: bool = False) -> Tap:
        """A tap that is done: remembered against doubles, with what the display should add."""
        now = self._clock.now()
        self._just_tapped = {number: at for number, at in self._just_tapped.items() if abs(now - at) < self._double_tap}
        self._just_tapped[purchase.view.number] = now
        after_fen = purchase.answer.real_balance_fen - purchase.amount_fen
        today = now.astimezone(LOCAL_TIME).date()
        return Tap(record, purchase, price, recovered, hints(after_fen, purchase.view.expiry, today, self._hint_rules))

    def _keep(self, purchase: Purchase) -> bytes:
        """The dialogue's journal: the grey record before the debit, the final one in its place."""
        record = self._record(purchase, self.journal.next_seq())
        if purchase.grey:
            self.journal.write_ahead(record)
        else:
            self.journal.finish(record)
        return record

    def _record(self, purchase: Purchase, device_seq: int) -> bytes:
        asked = self._asked
        assert asked is not None, "a record is made of a tap that was asked for"
        view, answer, price = purchase.view, purchase.answer, asked.price
        flags = (Flag.GREY if purchase.grey else 0) | (Flag.TRANSFER_DISCOUNT if price.transfer_discount else 0)
        if 0 <= answer.real_balance_fen < purchase.amount_fen:
            flags |= Flag.OVERDRAFT_USED
        facts = TapFacts(
            kind=Kind.GREY if purchase.grey else asked.kind,
            card_class=_CLASSES[view.scheme],
            algorithm_id=answer.algorithm_id,
            key_version=answer.key_version,
            key_index=dialogue.KEY_INDEX,
            issuer=view.issuer,
            card_number=view.number,
            card_city=view.city,
            card_main_type=asked.main_type,
            terminal_seq=purchase.sequence,
            card_counter=answer.offline_counter,
            tti=purchase.tti,
            balance_before_fen=answer.real_balance_fen,
            amount_fen=purchase.amount_fen,
            list_price_fen=price.list_price_fen,
            stamp=purchase.stamp,
            tac=purchase.tac or bytes(4),
            discount_rule=price.discount_rule,
            flags=flags,
            blacklist_version=self.blacklist.version,
            parameter_version=self._parameter_version,
        )
        return make_record(self.facts, facts, device_seq)

    def _transit_record(self, kind: Kind, answer: AnswerB, price: Price, stamp: bytes) -> bytes:
        """One record of the card's transit log, file 001E, 48 bytes (card-files.md, section 3)."""
        facts = self.facts
        after_fen = max(0, answer.old_balance_fen - price.amount_fen)
        return (
            bytes((_TRANSIT_TYPE[kind],))
            + bytes(2) + facts.terminal_packed
            + bytes((facts.industry_code & 0xFF,))
            + b"\x00" + facts.line_packed
            + facts.station.to_bytes(2, "big") + b"\x00"
            + amount_bytes(price.amount_fen)
            + amount_bytes(after_fen)
            + stamp
            + facts.city_packed
            + facts.acquirer_packed
            + bytes(6)
        )  # fmt: skip
