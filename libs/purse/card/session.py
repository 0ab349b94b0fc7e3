"""What a card forgets when the power goes: selection, security state, challenge, the transaction under way."""

from libs.purse.card.files import FileSpec
from libs.purse.card.state import Application


class Pending:
    """A purse transaction between its two commands.

    Attributes:
        tti: Transaction type.
        amount: 4 bytes.
        terminal: 6 bytes.
        random: 4 bytes, sent in answer A or B.
        session_key: Of an online transaction, made at INITIALIZE; of a purchase only DEBIT knows the terminal's part.
        writes: Records that a complex purchase will write: file, record number (0 = append), bytes.
    """

    __slots__ = ("amount", "random", "session_key", "terminal", "tti", "writes")

    def __init__(self, tti: int, amount: bytes, terminal: bytes, random: bytes, session_key: bytes = b"") -> None:
        self.tti = tti
        self.amount = amount
        self.terminal = terminal
        self.random = random
        self.session_key = session_key
        self.writes: list[tuple[FileSpec, int, bytes]] = []


class Session:
    """The volatile state of a powered card."""

    __slots__ = ("application", "challenge", "file", "lost", "pending", "pin_verified", "state")

    def __init__(self) -> None:
        self.application: Application | None = None
        self.file: FileSpec | None = None
        self.challenge = b""
        self.pending: Pending | None = None
        self.pin_verified = False
        # Security state of the selected directory, 0 to F; EXTERNAL AUTHENTICATE raises it.
        self.state = 0
        # The power went in the middle of a write: nothing is answered before the next reset.
        self.lost = False

    def enter(self, application: Application | None) -> None:
        """Select an application (or the master file): everything volatile starts anew."""
        self.application = application
        self.file = None
        self.pending = None
        self.pin_verified = False
        self.state = 0
