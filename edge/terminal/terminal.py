"""A terminal: card in, record out, nothing online (purse-protocol.md, sections 3.2 to 3.4 and 3.7).

It takes one card at a time. What it needs of the world is handed in: card and security module as transceivers, a clock,
a journal, a blacklist. It is the same object in a city of thousands and in front of a real reader.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from edge.terminal.admission import Admission
from edge.terminal.blacklist import Listed, TerminalBlacklist
from edge.terminal.guard import GuardRules, PassBackGuard, Way
from edge.terminal.hints import DEFAULT_RULES, Hint, HintRules, hints
from edge.terminal.journal import Journal, JournalFull
from edge.terminal.lists import TerminalLists
from edge.terminal.modes import ModeLog
from edge.terminal.record import TapFacts, TerminalFacts, make_record
from edge.terminal.torn import CLASSES, Asked, Price, TornTap, from_record
from edge.terminal.transit import TRANSIT_LOG_SFI, discount_write, transit_record
from libs.clock import Clock
from libs.purse import terminal as dialogue
from libs.purse.fields import stamp_bytes
from libs.purse.inspect import AIDS, CardView
from libs.purse.terminal import AnswerB, CappWrite, Finding, Purchase, Torn
from libs.purse.transceiver import CardGone, CardRefused, Transceiver, demand
from libs.records.bcd import LOCAL_TIME, time_of
from libs.records.blacklist_file import Mode
from libs.records.codes import Kind
from libs.records.otr import Flag

_READ_MAIN_TYPE = bytes.fromhex("00B0960001")
# How long a torn debit waits for its card before it is collected as grey [convention].
GREY_WAIT = timedelta(minutes=10)
# Cards that tore and did not come back at once; more than these within the wait are not remembered.
_LEFT_BEHIND_MAX = 16
_WAYS = {Kind.ENTRY: Way.IN, Kind.EXIT: Way.OUT}

# How often one card's hit on the blacklist is written down [convention].
_HIT_AGAIN = timedelta(hours=1)

__all__ = ["FREE", "GREY_WAIT", "Price", "Pricing", "Tap", "Terminal"]

FREE = Price(0, 0)

Pricing = Callable[[CardView, int], Price]
"""The price of a tap for a card and its main type; may read the selected card, and may refuse."""


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


class Terminal:
    """One terminal with its security module.

    A debit that a power cut left open in the journal is torn like any other: the next tap settles it.

    Args:
        facts: What it is.
        sam: Its security module.
        journal: Keeps its records.
        clock: Its own clock; it may be wrong, and the blacklist goes by it.
        blacklist: The list it was last given; shared by the readers of one device.
        parameter_version: Of its fares, for the record.
        aids: Applications that it takes, by preference.
        double_tap_s: A card that was let through is not asked again for so long (card-lifecycle-and-fares.md,
            section 4); 0 for never. Of a guard of its own, where none is given.
        hint_rules: When to hint at a low balance and a near expiry.
        guard: Shared by the readers of one gate array.
        modes: Degraded modes of the city.
        lists: All its lists, of which `blacklist` is one; cards of issuers that are not on the white list are foreign.
    """

    __slots__ = (
        "_admission", "_asked", "_clock", "_hits", "_left_behind", "_sam", "_torn", "blacklist", "facts",
        "hint_rules", "journal", "lists", "parameter_version",
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
        guard: PassBackGuard | None = None,
        modes: ModeLog | None = None,
        lists: TerminalLists | None = None,
    ) -> None:
        assert lists is None or lists.blacklist is blacklist, "one blacklist, whoever looks"
        self.lists = lists
        self.facts = facts
        self.journal = journal
        self.blacklist = blacklist
        self.parameter_version = parameter_version
        self.hint_rules = hint_rules
        self._sam = sam
        self._clock = clock
        self._admission = Admission(
            aids,
            PassBackGuard(GuardRules(double_tap_s)) if guard is None else guard,
            ModeLog() if modes is None else modes,
            facts.device_number,
            facts.station,
            None if lists is None else lists.accepts,
        )
        self._asked: Asked | None = None
        self._hits: dict[bytes, datetime] = {}
        # Grey records that were closed while their cards may still come back, each with its record.
        self._left_behind: dict[bytes, tuple[TornTap, bytes]] = {}
        opened = journal.opened()
        self._torn = None if opened is None else from_record(opened.record, opened.kind, aids)

    @property
    def guard(self) -> PassBackGuard:
        """Against double taps."""
        return self._admission.guard

    @property
    def modes(self) -> ModeLog:
        """Degraded modes."""
        return self._admission.modes

    def pay(self, card: Transceiver, pricing: Pricing) -> Tap:
        """A single purchase: kind 01, a bus with one tap.

        Raises:
            CardListed, CardBlocked, CardForeign, CardNotEnabled, CardExpired, MoneyNotEnough: The card is refused.
            CardJustTapped, CardPassedBack: It was let through a moment ago.
            JournalFull, JournalFailed, CardGone, CardRefused: It was not debited.
            Torn: It may have been; the next tap of the same card at this terminal decides it and debits nothing twice.
        """
        return self.tap(card, Kind.PURCHASE, pricing)

    def enter(self, card: Transceiver, pricing: Pricing = lambda view, main_type: FREE) -> Tap:
        """The entry of a trip: kind 02, a complex purchase, mostly of nothing; raises as `pay`."""
        return self.tap(card, Kind.ENTRY, pricing)

    def leave(self, card: Transceiver, pricing: Pricing) -> Tap:
        """The exit of a trip: kind 03, a complex purchase of the fare; raises as `pay`."""
        return self.tap(card, Kind.EXIT, pricing)

    def tap(self, card: Transceiver, kind: Kind, pricing: Pricing) -> Tap:
        """A tap that makes a record of any kind with a debit, also of nothing; raises as `pay`."""
        if self._torn is not None:
            finished = self._settle_torn(card, self._torn)
            if finished is not None:
                return finished
        if self.journal.fill().full:
            # Before the card is asked for anything, so that it is not sent away half way.
            raise JournalFull(records_max=self.journal.fill().records_max)
        way = _WAYS.get(kind, Way.NONE)
        at = self._clock.now()
        view = self._admission.admit(card, way, at, self.blacklist, lambda view, hit: self._listed(card, view, hit))
        known = self._left_behind.pop(view.number, None)
        if known is not None:
            finished = self._settle_left_behind(card, *known)
            if finished is not None:
                return finished
            # The recovery selected the application anew and asked for a transaction: both are over.
            view = self._admission.find(card)
        main_type = demand(card, _READ_MAIN_TYPE, size=1)[0]
        price = pricing(view, main_type)
        self._asked = Asked(kind, main_type, price)
        kept: list[bytes] = []
        # A simple purchase of nothing does not exist on cards in service; a complex one does.
        with_trip = kind is not Kind.PURCHASE or price.amount_fen == 0 or bool(price.discount_state)

        def writes(answer: AnswerB) -> Sequence[CappWrite]:
            log = transit_record(self.facts, kind, answer, price, stamp_bytes(at))
            state = discount_write(view.scheme, price.discount_state)
            return (CappWrite.append(TRANSIT_LOG_SFI, log), *((state,) if state else ()))

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
            self._torn = TornTap(torn.purchase, self._asked)
            raise
        except CardRefused:
            # The debit itself was refused after the grey record was kept: nothing was written on the card.
            if kept:
                self.journal.drop()
            raise
        return self._through(kept[-1], purchase, price, way)

    def look(self, card: Transceiver) -> CardView:
        """The application that a tap would use, selected; nothing is decided.

        Raises:
            CardForeign: There is none.
        """
        return self._admission.find(card)

    def main_type(self, card: Transceiver) -> int:
        """Card main type of the selected application; 0 when the card does not tell."""
        return _main_type(card)

    def append(self, facts: TapFacts) -> bytes:
        """Keep a record that no debit stands behind (kinds 07 and 0A); returns its 128 bytes.

        Raises:
            JournalFull, JournalFailed: It is not kept.
        """
        self.let_go(None)
        record = make_record(self.facts, facts, self.journal.next_seq())
        self.journal.finish(record)
        return record

    def let_go(self, now: datetime | None) -> None:
        """Give up waiting for the card of a torn debit: its grey record is collected like any other.

        Args:
            now: Only if it is older than `GREY_WAIT` by then; None: at once.
        """
        torn = self._torn
        if torn is None or (now is not None and now - time_of(torn.grey.stamp) < GREY_WAIT):
            return
        self._close_grey(torn)

    def _listed(self, card: Transceiver, view: CardView, listed: Listed) -> bool:
        """Lock a listed card where the list says so, and write a record of the hit (kind 07).

        A card that is only refused may lie on the reader for long: its hit is written once an hour.
        """
        now = self._clock.now()
        main_type = _main_type(card)
        locked = listed.mode is Mode.LOCK and self._lock(card, view)
        self._hits = {number: at for number, at in self._hits.items() if abs(now - at) < _HIT_AGAIN}
        if not locked and view.number in self._hits:
            return False
        self._hits[view.number] = now
        facts = TapFacts(
            kind=Kind.CARD_LOCKED,
            card_class=CLASSES[view.scheme],
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
            stamp=stamp_bytes(now),
            tac=bytes(4),
            discount_rule=0,
            flags=Flag.BLACKLIST_HIT | (Flag.CARD_LOCKED if locked else 0),
            blacklist_version=self.blacklist.version,
            parameter_version=self.parameter_version,
        )
        self.append(facts)
        return locked

    def _lock(self, card: Transceiver, view: CardView) -> bool:
        try:
            dialogue.lock_card(card, self._sam, view)
        except (CardGone, CardRefused):
            # It left too early, or the module has no lock key for it: refused all the same, and met again somewhere.
            return False
        return True

    def _settle_torn(self, card: Transceiver, torn: TornTap) -> Tap | None:
        """Decide the debit that the last tap left open (section 3.4); a tap that it finishes is answered.

        Raises:
            CardGone, CardRefused: Nothing was decided; the grey record stays open.
        """
        self._asked = torn.asked
        kept: list[bytes] = []
        finding, purchase = dialogue.recover(card, self._sam, torn.grey, lambda made: kept.append(self._keep(made)))
        if finding is Finding.DONE:
            self._torn = None
            return self._through(kept[-1], purchase, torn.asked.price, self._way(torn), recovered=True)
        if finding is Finding.NOT_DONE:
            self._torn = None
            self.journal.drop()
            return None
        # It goes up as it is: grey, kind 08. The centre decides by the card's later records.
        record = self._close_grey(torn)
        if finding is Finding.DONE_WITHOUT_PROOF:
            return self._through(record, torn.grey, torn.asked.price, self._way(torn), recovered=True)
        self._left_behind[torn.grey.view.number] = (torn, record)
        while len(self._left_behind) > _LEFT_BEHIND_MAX:
            self._left_behind.pop(next(iter(self._left_behind)))
        return None

    def _settle_left_behind(self, card: Transceiver, torn: TornTap, record: bytes) -> Tap | None:
        """The card of a grey record that was closed comes back: if it has paid, it pays nothing again.

        The proof then goes up as a full record under the same terminal sequence, which closes the grey one.
        """
        if self._clock.now() - time_of(torn.grey.stamp) > GREY_WAIT:
            return None
        self._asked = torn.asked
        kept: list[bytes] = []
        finding, purchase = dialogue.recover(card, self._sam, torn.grey, lambda made: kept.append(self._keep(made)))
        if finding is Finding.DONE:
            return self._through(kept[-1], purchase, torn.asked.price, self._way(torn), recovered=True)
        if finding is Finding.DONE_WITHOUT_PROOF:
            return self._through(record, torn.grey, torn.asked.price, self._way(torn), recovered=True)
        return None

    def _close_grey(self, torn: TornTap) -> bytes:
        record = self._record(torn.grey, torn.asked, self.journal.next_seq())
        self.journal.finish(record)
        self._torn = None
        return record

    def _way(self, torn: TornTap) -> Way:
        return _WAYS.get(torn.asked.kind, Way.NONE)

    def _through(self, record: bytes, purchase: Purchase, price: Price, way: Way, *, recovered: bool = False) -> Tap:
        """A tap that is done: remembered against doubles, with what the display should add."""
        now = self._clock.now()
        self._admission.let_through(purchase.view.number, way, now)
        after_fen = purchase.answer.real_balance_fen - purchase.amount_fen
        today = now.astimezone(LOCAL_TIME).date()
        return Tap(record, purchase, price, recovered, hints(after_fen, purchase.view.expiry, today, self.hint_rules))

    def _keep(self, purchase: Purchase) -> bytes:
        """The dialogue's journal: the grey record before the debit, the final one in its place."""
        asked = self._asked
        assert asked is not None, "a record is made of a tap that was asked for"
        record = self._record(purchase, asked, self.journal.next_seq())
        if purchase.grey:
            self.journal.write_ahead(record, asked.kind)
        else:
            self.journal.finish(record)
        return record

    def _record(self, purchase: Purchase, asked: Asked, device_seq: int) -> bytes:
        view, answer, price = purchase.view, purchase.answer, asked.price
        flags = (Flag.GREY if purchase.grey else 0) | (Flag.TRANSFER_DISCOUNT if price.transfer_discount else 0)
        if 0 <= answer.real_balance_fen < purchase.amount_fen:
            flags |= Flag.OVERDRAFT_USED
        facts = TapFacts(
            kind=Kind.GREY if purchase.grey else asked.kind,
            card_class=CLASSES[view.scheme],
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
            parameter_version=self.parameter_version,
        )
        return make_record(self.facts, facts, device_seq)


def _main_type(card: Transceiver) -> int:
    """Card main type of the selected application; 0 when the card does not tell any more."""
    try:
        return demand(card, _READ_MAIN_TYPE, size=1)[0]
    except (CardGone, CardRefused):
        return 0
