"""How this bank may misbehave, for whoever wants to see what the platform makes of it. None of it in earnest."""

import random
from dataclasses import dataclass

KINDS = {
    "away": "answers UNAVAILABLE and does nothing",
    "lost": "never answers and does nothing",
    "never": "does it and never answers",
    "late": "does it and answers after --late-s",
    "twice": "does it, answers, and tells the platform twice more by itself",
    "contradict": "does it and says something else",
}


class FaultsMistaken(ValueError):
    """The text of `--faults` is none."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often which fault, each by its own chance; at most one at a time.

    Attributes:
        chances: Kind to probability.
        random: Seeded, so that a run can be repeated.
    """

    chances: dict[str, float]
    random: random.Random

    @classmethod
    def parse(cls, text: str, seed: int) -> "Faults":
        """Read `late=0.1,never=0.05`.

        Raises:
            FaultsMistaken: An unknown kind, no number, or more than 1 together.
        """
        chances: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            kind, _, chance = part.partition("=")
            if kind not in KINDS:
                raise FaultsMistaken(f"unknown fault {kind!r}; known: {', '.join(KINDS)}")
            try:
                chances[kind] = float(chance)
            except ValueError:
                raise FaultsMistaken(f"{part!r} has no number") from None
        if not 0 <= sum(chances.values()) <= 1:
            raise FaultsMistaken("the chances sum to more than 1")
        return cls(chances, random.Random(seed))  # noqa: S311 (faults are no secret)

    def draw(self) -> str:
        """The fault of one call; empty for none."""
        point = self.random.random()
        for kind, chance in self.chances.items():
            if point < chance:
                return kind
            point -= chance
        return ""
