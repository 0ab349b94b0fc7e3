"""Whether a card may be used here and now; nothing is written on it yet."""

from collections.abc import Callable, Sequence
from datetime import datetime

from edge.terminal.blacklist import Listed, TerminalBlacklist
from edge.terminal.guard import PassBackGuard, Way
from edge.terminal.modes import DegradedMode, ModeLog
from edge.terminal.refusals import CardBlocked, CardExpired, CardForeign, CardListed, CardNotEnabled
from libs.purse.fields import stamp_bytes
from libs.purse.inspect import CardView, select
from libs.purse.transceiver import Transceiver

OnListed = Callable[[CardView, Listed], bool]
"""What to do with a listed card that is refused: lock it where the list says so and write it down; True if locked."""


class Admission:
    """The checks of a terminal, in their order.

    Args:
        aids: Applications that it takes, by preference.
        guard: Against double taps; shared by the readers of one gate array.
        modes: Of the city.
        reader: Which reader of the guard this is.
        station: Where it stands.
        accepts: Whether cards of an issuer (8 bytes) are accepted then; without it all are.
    """

    __slots__ = ("_accepts", "_aids", "_reader", "_station", "guard", "modes")

    def __init__(
        self, aids: Sequence[bytes], guard: PassBackGuard, modes: ModeLog, reader: int, station: int,
        accepts: Callable[[bytes, datetime], bool] | None = None,
    ) -> None:  # fmt: skip
        self._accepts = accepts
        self._aids = tuple(aids)
        self._reader = reader
        self._station = station
        self.guard = guard
        self.modes = modes

    def admit(
        self, card: Transceiver, way: Way, now: datetime, blacklist: TerminalBlacklist, on_listed: OnListed
    ) -> CardView:
        """Select the card's application and decide.

        Raises:
            CardForeign, CardBlocked, CardListed, CardNotEnabled, CardExpired, CardJustTapped, CardPassedBack: No.
            CardGone, CardRefused, CardNumberMalformed: It left, or is none.
        """
        view = self.find(card)
        if self._accepts is not None and not self._accepts(view.issuer, now):
            raise CardForeign
        if view.blocked:
            raise CardBlocked
        self.guard.check(view.number, self._reader, way, now)
        # A tap that is no half of a trip is a way out, too: nothing comes after it where the card could be met again.
        listed = blacklist.find(view.number, now, at_exit=way is not Way.IN)
        if listed is not None:
            raise CardListed(list_reason=listed.reason.name, locked="yes" if on_listed(view, listed) else "no")
        today = stamp_bytes(now)[:4]
        if not view.enabled or today < view.start:
            raise CardNotEnabled(start=view.start.hex())
        if today > view.expiry and not self.modes.on(DegradedMode.DATE_FREE, now, self._station):
            raise CardExpired(expiry=view.expiry.hex())
        return view

    def find(self, card: Transceiver) -> CardView:
        """The first application of the card that this terminal takes, selected.

        Raises:
            CardForeign: There is none.
        """
        for aid in self._aids:
            view = select(card, aid)
            if view is not None:
                return view
        raise CardForeign

    def let_through(self, card_number: bytes, way: Way, now: datetime) -> None:
        """Remember a card that was let through."""
        self.guard.remember(card_number, self._reader, way, now)
