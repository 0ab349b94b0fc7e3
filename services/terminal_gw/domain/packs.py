"""Parameter packs and which of them a terminal should have."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, Self

from services.terminal_gw.domain.errors import PackUnknown

# The numbers of `PackKind` and `DeviceKind`, as they stand in names.
PACK_KINDS: Final = {1: "fares", 2: "calendar", 3: "products", 4: "modes", 5: "program"}
DEVICE_KINDS: Final = {
    0: "any",
    1: "bus-validator",
    2: "metro-gate",
    3: "shop-pos",
    4: "parking",
    5: "meter",
    6: "ticket-gate",
    7: "handheld",
    8: "collector",
}
_NAME: Final = re.compile(r"packs/([a-z]+)\.([a-z-]+)\.([a-z0-9-]{1,40})\.([0-9]{1,9})", re.ASCII)
_EVERYBODY: Final = "all"


@dataclass(frozen=True, slots=True)
class PackKey:
    """What makes a pack that pack.

    Attributes:
        kind: Number of `PackKind`.
        device_kind: Number of `DeviceKind`; 0 for all devices.
        participant: Whose; empty for all.
        version: From 1.
    """

    kind: int
    device_kind: int
    participant: str
    version: int

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read `packs/{kind}.{device kind}.{participant or all}.{version}`.

        Raises:
            PackUnknown: Not of that form.
        """
        match = _NAME.fullmatch(name)
        kinds = {text: number for number, text in PACK_KINDS.items()}
        devices = {text: number for number, text in DEVICE_KINDS.items()}
        if match is None or match[1] not in kinds or match[2] not in devices:
            raise PackUnknown(pack=name)
        participant = "" if match[3] == _EVERYBODY else match[3]
        return cls(kinds[match[1]], devices[match[2]], participant, int(match[4]))

    def __str__(self) -> str:
        owner = self.participant or _EVERYBODY
        return f"packs/{PACK_KINDS[self.kind]}.{DEVICE_KINDS[self.device_kind]}.{owner}.{self.version}"


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack; the fields of `citycard.terminal_gw.v1.Pack`."""

    key: PackKey
    effect_time: datetime
    sha256: bytes
    size_bytes: int
    signature: bytes
    certificate: bytes
    publish_time: datetime
    title: str = ""


class RolloutStatus(IntEnum):
    """The numbers of `citycard.terminal_gw.v1.RolloutState`."""

    RUNNING = 1
    PAUSED = 2
    ROLLED_BACK = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """Which terminals join: of some groups, none for all, so many of a hundred."""

    groups: tuple[str, ...]
    percent: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a terminal stands.

    Attributes:
        terminal_number: 12 digits.
        participant: Its owner.
        device_kind: Number of `DeviceKind`; 0 not said.
        group: Empty for none.
    """

    terminal_number: str
    participant: str
    device_kind: int
    group: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """A roll-out.

    Attributes:
        number: Grows; the newest that covers a terminal decides.
        pack: What is rolled out.
        stages: They add up.
        stage: In force, from 1.
        state: RUNNING, PAUSED, ROLLED_BACK.
        failure_count_max: So many failures pause it; 0 never.
        start_time: When it began.
    """

    number: int
    pack: PackKey
    stages: tuple[Stage, ...]
    stage: int
    state: RolloutStatus
    failure_count_max: int
    start_time: datetime

    @property
    def name(self) -> str:
        """`rollouts/{number}`."""
        return f"rollouts/{self.number}"

    def covers(self, place: Place) -> bool:
        """Whether the stages so far cover a terminal; the same answer at every look."""
        pack = self.pack
        if pack.participant not in ("", place.participant) or pack.device_kind not in (0, place.device_kind):
            return False
        lot = _lot(str(pack), place.terminal_number)
        return any(
            (not stage.groups or place.group in stage.groups) and lot < stage.percent
            for stage in self.stages[: self.stage]
        )


def wanted(place: Place, rollouts: Iterable[Rollout], has: Mapping[int, int]) -> dict[int, PackKey]:
    """Which pack of each kind a terminal should have.

    Of each kind the newest roll-out decides that covers the terminal, was not rolled back, and is not paused unless the
    terminal has its pack already. A pack for one kind of device goes before one for all.

    Args:
        place: The terminal.
        rollouts: Newest first.
        has: Version by kind, as the terminal says.

    Returns:
        By kind; kinds that no roll-out covers are left out: the terminal keeps what it has.
    """
    chosen: dict[int, PackKey] = {}
    for rollout in rollouts:
        pack = rollout.pack
        if rollout.state is RolloutStatus.ROLLED_BACK or not rollout.covers(place):
            continue
        if rollout.state is RolloutStatus.PAUSED and has.get(pack.kind) != pack.version:
            continue
        known = chosen.get(pack.kind)
        if known is None or (not known.device_kind and pack.device_kind):
            chosen[pack.kind] = pack
    return chosen


def _lot(pack: str, terminal_number: str) -> int:
    """0 to 99, even over terminals and another for each pack: nobody is always the first to try."""
    return int.from_bytes(hashlib.blake2b(f"{pack} {terminal_number}".encode(), digest_size=8).digest(), "big") % 100
