"""What passing lists on needs of the world."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from libs.errors import NotFound


class ArtefactUnknown(NotFound):
    """The blacklist's own refusal, passed on. Facts: `list`, `version`, `base_version`."""

    reason = "ARTEFACT_UNKNOWN"
    service = "blacklist"


@dataclass(frozen=True, slots=True)
class ListState:
    """Where a list stands.

    Attributes:
        kind: Number of the list (`ListKind` of the blacklist's contract).
        published_version: Newest version with files; 0 none.
        message: All that the blacklist said of it, serialised: for terminals, not for us.
    """

    kind: int
    published_version: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Lists:
    """All lists, and whose signatures to believe.

    Attributes:
        states: By number of the list.
        signer_keys: Public keys, DER.
    """

    states: tuple[ListState, ...]
    signer_keys: tuple[bytes, ...]

    def published(self, kind: int) -> int:
        """Newest published version of a list; 0 none."""
        return next((one.published_version for one in self.states if one.kind == kind), 0)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which file is wanted.

    Attributes:
        kind: Number of the list.
        base_version: What the caller has; 0 none.
        version: To go on with; 0 the newest.
        entry_count_max: What the caller can hold; 0 no limit.
    """

    kind: int
    base_version: int = 0
    version: int = 0
    entry_count_max: int = 0


@dataclass(frozen=True, slots=True)
class ListFile:
    """A published file; it never changes.

    Attributes:
        kind: Number of the list.
        version: After the file.
        base_version: 0: the whole list.
        left_out_count: Entries that were cut.
        sha256: 32 bytes, checked.
        data: The bytes.
    """

    kind: int
    version: int
    base_version: int
    left_out_count: int
    sha256: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Word:
    """A terminal says what is in force.

    Attributes:
        terminal_number: 12 digits.
        version: Of the list.
        offered_ms: When it had the file, milliseconds since 1970; 0 not known.
        acknowledged_ms: When it said so.
    """

    terminal_number: str
    version: int
    offered_ms: int
    acknowledged_ms: int


class ListSource(Protocol):
    """The blacklist's lists. Every method raises `DependencyUnavailable` within a second where it does not answer."""

    @property
    def away(self) -> bool:
        """Whether it did not answer a moment ago, so that it is not asked now."""
        ...

    async def lists(self) -> Lists:
        """Where all lists stand."""
        ...

    async def fetch(self, asked: Asked) -> ListFile | None:
        """A whole published file, its digest checked; None where the caller has the newest.

        Raises:
            ArtefactUnknown: No such file, or no longer.
        """
        ...

    async def report(self, kind: int, fetched: Sequence[tuple[int, int]], words: Sequence[Word]) -> None:
        """Pass on when published versions were first held (version, milliseconds), and what terminals said."""
        ...
