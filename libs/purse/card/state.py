"""What a card keeps: keys, purses and file contents of each application. What survives power loss lives only here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType

from libs.purse.algorithms import Algorithm, algorithm
from libs.purse.card.files import Content, FileKind, FileSpec
from libs.purse.card.profiles import SFI_LOG, SFI_MESSAGE, SFI_PUBLIC, Profile
from libs.purse.transactions import PurseId

PIN_TRIES = 3
UNBLOCK_TRIES = 3
KEY_TRIES = 3


class KeyUse(IntEnum):
    """Type of a key in the key file; the numbers are FMCOS's, also P1 of WRITE KEY (purse-crypto.md, section 5)."""

    INTERNAL = 0x30
    TAC = 0x34
    MAINTENANCE = 0x36
    PIN_UNBLOCK = 0x37
    PIN_RELOAD = 0x38
    EXTERNAL = 0x39
    OVERDRAFT = 0x3C
    UNLOAD = 0x3D
    PURCHASE = 0x3E
    LOAD = 0x3F


@dataclass(frozen=True, slots=True)
class OtherKey:
    """A key beyond the five that every purse has.

    Attributes:
        key: 16 bytes, or 8 for single DES.
        follow_state: Security state after a successful EXTERNAL AUTHENTICATE, 0 to F.
        tries: Wrong uses in a row before the key locks.
    """

    key: bytes = field(repr=False)
    follow_state: int = 0
    tries: int = KEY_TRIES


KeyName = tuple[KeyUse, int]
_NO_OTHERS: Mapping[KeyName, OtherKey] = MappingProxyType({})
_ALL_TRIES: Mapping[KeyName, int] = MappingProxyType({})


def _no_others() -> Mapping[KeyName, OtherKey]:
    """One empty mapping for every card that has no such keys."""
    return _NO_OTHERS


def _all_tries() -> Mapping[KeyName, int]:
    return _ALL_TRIES


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
        others: Unload, overdraft, PIN and authentication keys, by use and index.
    """

    purchase: bytes = field(repr=False)
    load: bytes = field(repr=False)
    tac: bytes = field(repr=False)
    maintenance: bytes = field(repr=False)
    lock: bytes | None = field(default=None, repr=False)
    version: int = 1
    algorithm_id: int = 0
    index: int = 1
    others: Mapping[KeyName, OtherKey] = field(default_factory=_no_others, repr=False)

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
    """One purse. A transaction replaces the whole value, so it happens or it does not.

    Attributes:
        balance_fen: As the chip stores it; of a JT card the overdraft limit is included.
        online_counter: Loads so far, and of an ED unloads and changes of its limit.
        offline_counter: Purchases so far.
        overdraft_limit_fen: At most 3 bytes.
        log: File 0018, newest record first; one file for both purses, kept with the EP.
        proof_of: TTI and counter after the increment (3 bytes) of the last transaction; kept with the EP.
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


@dataclass(frozen=True, slots=True)
class Guard:
    """The security memory of an application.

    Attributes:
        pin: Reference PIN, 2 to 6 bytes BCD.
        pin_tries: Tries left.
        unblock_tries: Tries of APPLICATION UNBLOCK left before the application is lost for ever.
        block: Whether the application serves.
        key_tries: Tries left of keys that were used wrongly; absent means all.
    """

    pin: bytes = field(repr=False)
    pin_tries: int = PIN_TRIES
    unblock_tries: int = UNBLOCK_TRIES
    block: Block = Block.NONE
    key_tries: Mapping[KeyName, int] = field(default_factory=_all_tries)


@lru_cache(maxsize=16)
def _fresh_guard(pin: bytes) -> Guard:
    """Transit cards share one PIN, so a city of fresh cards shares one guard."""
    return Guard(pin)


class PowerLost(Exception):
    """The card lost its power at an elementary write; raised by `Fuse` alone, and never leaves the card."""


class Fuse:
    """Power for a number of elementary writes: how a test pulls the card out in the middle of one.

    Attributes:
        left: Writes that will still succeed.
    """

    __slots__ = ("left",)

    def __init__(self, writes: int) -> None:
        self.left = writes

    def burn(self) -> None:
        """Account for one elementary write."""
        if self.left <= 0:
            raise PowerLost
        self.left -= 1


@dataclass(slots=True)
class _Journal:
    """New values that are complete but not yet at home. Once `sealed`, the write happens whatever comes."""

    purse: PurseState | None
    deposit: PurseState | None
    guard: Guard | None
    keys: CardKeys | None
    files: Mapping[int, Content] | None
    sealed: bool = False


class Application:
    """One application of one card: an immutable profile, and the few things that differ from it.

    Attributes:
        profile: Shared description.
        keys: Of this card.
        purse: The electronic purse (电子钱包, EP), and the log and proof of both purses.
        deposit: The electronic deposit (电子存折, ED); None when the application has none.
        guard: PIN, tries and blocks.
        fuse: Set by a test that tears the card; None otherwise.
    """

    __slots__ = ("_files", "_journal", "deposit", "fuse", "guard", "keys", "profile", "purse")

    def __init__(
        self,
        profile: Profile,
        keys: CardKeys,
        purse: PurseState,
        pin: bytes,
        files: Mapping[int, Content],
        deposit: PurseState | None = None,
    ) -> None:
        self.profile = profile
        self.keys = keys
        self.purse = purse
        self.deposit = deposit if deposit is not None or not profile.has_purse(PurseId.ED) else PurseState()
        self.guard = _fresh_guard(pin)
        self.fuse: Fuse | None = None
        self._files: Mapping[int, Content] = files
        self._journal: _Journal | None = None

    def __repr__(self) -> str:
        purses = ", ".join(f"{purse.name} {self.purse_of(purse).balance_fen} fen" for purse in self.profile.purses)
        return f"Application({self.profile.scheme}, {self.profile.aid.hex()}, {purses or 'no purse'})"

    @property
    def public(self) -> bytes:
        """File 0015, 30 bytes; empty when the application has none."""
        spec = self.profile.files.get(SFI_PUBLIC)
        content = self.content(spec) if spec else b""
        assert isinstance(content, bytes), "file 0015 is transparent"
        return content

    @property
    def message_code(self) -> bytes:
        """The 9 bytes of GET MESSAGE; empty when the card was issued without."""
        code = self._files.get(SFI_MESSAGE, b"")
        assert isinstance(code, bytes), "personalisation writes one byte string"
        return code

    @property
    def block(self) -> Block:
        """Whether it serves."""
        return self.guard.block

    @property
    def pin_tries(self) -> int:
        """Tries of the PIN left."""
        return self.guard.pin_tries

    def purse_of(self, purse: PurseId) -> PurseState:
        """One of the purses, by its name; the profile says which there are."""
        if purse is PurseId.EP:
            return self.purse
        assert self.deposit is not None, "the profile has no deposit"
        return self.deposit

    def content(self, spec: FileSpec) -> Content:
        """Content of a file; the log is part of the purse."""
        if spec.sfi == SFI_LOG and spec.kind is FileKind.CYCLIC:
            return self.purse.log
        return self._files.get(spec.sfi, spec.initial)

    @property
    def contents(self) -> Mapping[int, Content]:
        """Files that differ from the profile's, by short file identifier; the log is not among them."""
        return self._files

    def tries_of(self, name: KeyName) -> int:
        """Tries left of a key beyond the five."""
        return self.guard.key_tries.get(name, self.keys.others[name].tries)

    def commit(
        self,
        purse: PurseState | None = None,
        files: Mapping[int, Content] | None = None,
        *,
        deposit: PurseState | None = None,
        guard: Guard | None = None,
        keys: CardKeys | None = None,
    ) -> None:
        """Write new values together: the one place where a card changes what it keeps.

        All are complete before this is called. With a fuse the writes go the way of a chip: journal, seal, home, done;
        power lost before the seal leaves the old values, after it `recover` finishes the new ones.

        Raises:
            PowerLost: The fuse blew.
        """
        if self.fuse is not None:
            self._commit_through_journal(self.fuse, _Journal(purse, deposit, guard, keys, files))
            return
        if files:
            self._files = {**self._files, **files}
        if purse is not None:
            self.purse = purse
        if deposit is not None:
            self.deposit = deposit
        if guard is not None:
            self.guard = guard
        if keys is not None:
            self.keys = keys

    def recover(self) -> None:
        """Power is back: finish a sealed write, forget any other."""
        journal, self._journal, self.fuse = self._journal, None, None
        if journal is not None and journal.sealed:
            self.commit(journal.purse, journal.files, deposit=journal.deposit, guard=journal.guard, keys=journal.keys)

    def _commit_through_journal(self, fuse: Fuse, journal: _Journal) -> None:
        fuse.burn()
        self._journal = journal
        fuse.burn()
        journal.sealed = True
        for sfi, content in (journal.files or {}).items():
            fuse.burn()
            self._files = {**self._files, sfi: content}
        # A purse goes home field by field: between two of them balance and counter contradict each other.
        for name, new in (("purse", journal.purse), ("deposit", journal.deposit)):
            for part in fields(new) if new is not None else ():
                fuse.burn()
                setattr(self, name, replace(getattr(self, name), **{part.name: getattr(new, part.name)}))
        for name, whole in (("guard", journal.guard), ("keys", journal.keys)):
            if whole is not None:
                fuse.burn()
                setattr(self, name, whole)
        fuse.burn()
        self._journal = None
