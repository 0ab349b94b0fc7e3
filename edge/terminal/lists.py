"""All lists of a terminal: the blacklist with its number ranges, staff cards, issuers whose cards are accepted."""

from datetime import datetime

from edge.terminal.blacklist import SignerUnknown, TerminalBlacklist
from libs.cardlist import MAGIC, CardList, IssuerList, Purpose, Verifier
from libs.cardlist.header import PURPOSE_OFFSET


class TerminalLists:
    """Takes files of any list and keeps each list as a whole: one that is refused leaves the old one in force.

    Args:
        verifier: Trusts the centre's keys; without one only BL and BI files are taken.
    """

    __slots__ = ("_issuers", "_staff", "_verifier", "blacklist")

    def __init__(self, verifier: Verifier | None = None) -> None:
        self.blacklist = TerminalBlacklist(verifier)
        self._verifier = verifier
        self._staff: CardList | None = None
        self._issuers: IssuerList | None = None

    def load(self, content: bytes) -> int:
        """Take a file; returns the version that its list now has.

        Raises:
            BatchRefused, ListRefused: It is damaged, not signed by the centre, or of an unknown kind.
            FullListNeeded: Changes to another list than ours.
            SignerUnknown: A compact list, and no key to check it with.
        """
        purpose = purpose_of(content)
        if purpose in (Purpose.BLACKLIST, Purpose.RANGES):
            self.blacklist.load(content)
            return self.versions().get(purpose, 0)
        if self._verifier is None:
            raise SignerUnknown
        if purpose == Purpose.STAFF:
            self._staff = CardList.open(content, self._verifier, Purpose.STAFF)
        else:
            self._issuers = IssuerList(content, self._verifier)
        return self.versions().get(purpose, 0)

    def versions(self) -> dict[Purpose, int]:
        """The version of each list that is held; for the words to the centre."""
        held = {
            Purpose.BLACKLIST: self.blacklist.version,
            Purpose.RANGES: self.blacklist.range_version,
            Purpose.STAFF: self._staff.point.version if self._staff is not None else 0,
            Purpose.ISSUERS: self._issuers.point.version if self._issuers is not None else 0,
        }
        return {purpose: version for purpose, version in held.items() if version}

    def is_staff(self, card_number: bytes, at: datetime, generation: int) -> bool:
        """Whether a card works this terminal.

        Args:
            card_number: 10 bytes BCD.
            at: By the terminal's clock.
            generation: Of the card; where the chip does not tell, 0: then any generation listed counts.
        """
        found = self._staff.find(card_number, generation) if self._staff is not None else None
        return found is not None and found.effective_s <= at.timestamp()

    def accepts(self, issuer: bytes, at: datetime) -> bool:
        """Whether cards of an issuer (8 bytes) are accepted; all are while no white list is held."""
        return self._issuers is None or self._issuers.accepts(issuer, int(at.timestamp()))


def purpose_of(content: bytes) -> Purpose:
    """Which list a file is about; what names none is held to be of the blacklist, which refuses it by name."""
    if content[: len(MAGIC)] == MAGIC and len(content) > PURPOSE_OFFSET:
        try:
            return Purpose(content[PURPOSE_OFFSET])
        except ValueError:
            return Purpose.BLACKLIST
    return Purpose.BLACKLIST
