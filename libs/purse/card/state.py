"""What a card keeps: keys, purse and file contents of each application. What survives power loss lives only here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from libs.purse.algorithms import Algorithm, algorithm
from libs.purse.card.files import Content, FileSpec
from libs.purse.card.profiles import SFI_LOG, SFI_PUBLIC, Profile

PIN_TRIES = 3
UNBLOCK_TRIES = 3


@dataclass(frozen=True, slots=True)
class CardKeys:
    """The keys of one application, 16 bytes each, of one version and algorithm.

    Attributes:
        version: Key version that answers A and B report.
        algorithm_id: Algorithm byte that they report.
        index: The key index (密钥索引) that INITIALIZE must name.
        purchase: DPK.
        load: DLK.
        tac: DTK.
        maintenance: DAMK.
        lock: Own key for APPLICATION BLOCK; None where the maintenance key does that.
    """

    purchase: bytes = field(repr=False)
    load: bytes = field(repr=False)
    tac: bytes = field(repr=False)
    maintenance: bytes = field(repr=False)
    lock: bytes | None = field(default=None, repr=False)
    version: int = 1
    algorithm_id: int = 0
    index: int = 1

    @property
    def algorithm(self) -> Algorithm:
        """What the algorithm byte stands for."""
        return algorithm(self.algorithm_id)

    @property
    def block(self) -> bytes:
        """The key of APPLICATION BLOCK."""
        return self.lock or self.maintenance


@dataclass(frozen=True, slots=True)
class PurseState:
    """The electronic purse (电子钱包). A transaction replaces the whole value, so it happens or it does not.

    Attributes:
        balance_fen: As the chip stores it; of a JT card the overdraft limit is included.
        online_counter: Loads so far.
        offline_counter: Purchases so far.
        overdraft_limit_fen: At most 3 bytes.
        log: File 0018, newest record first.
        proof_of: TTI and counter after the increment (3 bytes) of the last transaction; empty when there was none.
        proof: MAC2 and TAC of it, 8 bytes.
    """

    balance_fen: int = 0
    online_counter: int = 0
    offline_counter: int = 0
    overdraft_limit_fen: int = 0
    log: bytes = b""
    proof_of: bytes = b""
    proof: bytes = b""


class Block(IntEnum):
    """Whether an application serves."""

    NONE = 0
    REVERSIBLE = 1
    FOR_EVER = 2


class Application:
    """One application of one card: an immutable profile, and the few things that differ from it.

    Attributes:
        profile: Shared description.
        keys: Of this card.
        purse: Balance, counters, log and proof.
        block: Whether it serves.
        pin: Reference PIN, 2 to 6 bytes BCD.
        pin_tries: Tries left.
        unblock_tries: Tries left before the application is lost for ever.
    """

    __slots__ = ("_files", "block", "keys", "pin", "pin_tries", "profile", "purse", "unblock_tries")

    def __init__(
        self, profile: Profile, keys: CardKeys, purse: PurseState, pin: bytes, files: Mapping[int, Content]
    ) -> None:
        self.profile = profile
        self.keys = keys
        self.purse = purse
        self.pin = pin
        self.pin_tries = PIN_TRIES
        self.unblock_tries = UNBLOCK_TRIES
        self.block = Block.NONE
        self._files: Mapping[int, Content] = files

    def __repr__(self) -> str:
        return f"Application({self.profile.scheme}, {self.purse.balance_fen} fen)"

    @property
    def public(self) -> bytes:
        """File 0015, 30 bytes."""
        content = self.content(self.profile.files[SFI_PUBLIC])
        assert isinstance(content, bytes), "file 0015 is transparent"
        return content

    def content(self, spec: FileSpec) -> Content:
        """Content of a file; the log is part of the purse."""
        if spec.sfi == SFI_LOG:
            return self.purse.log
        return self._files.get(spec.sfi, spec.initial)

    def commit(self, purse: PurseState | None = None, files: Mapping[int, Content] | None = None) -> None:
        """Write purse and files together: the one place where a card changes what it keeps.

        Both new values are complete before this is called; a torn card has either called it or not.
        """
        if files:
            self._files = {**self._files, **files}
        if purse is not None:
            self.purse = purse
