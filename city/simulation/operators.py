"""The operators of the demo city: eight metro lines and five bus companies, as Shenzhen had them in 2018."""

from dataclasses import dataclass

from city.keys import CITY_CODE
from libs.records.numbers import Role, institution_id

METRO_INDUSTRY = 0x0001
BUS_INDUSTRY = 0x0002

CENTRE_ID = institution_id(Role.CENTRE, "00", CITY_CODE)


@dataclass(frozen=True, slots=True)
class Operator:
    """One participant that is paid.

    Attributes:
        number: Operator number of its records, from 1.
        slug: Name within `participants/`.
        zh: Name in Chinese, as the recorded day writes it.
        en: Name in English.
        industry_code: Of its records (card-files.md, section 8).
    """

    number: int
    slug: str
    zh: str
    en: str
    industry_code: int

    @property
    def participant(self) -> str:
        """Resource name."""
        return f"participants/{self.slug}"

    @property
    def institution_id(self) -> str:
        """Digits of its institution id: acquirer, its number in the place of the region, city."""
        return institution_id(Role.ACQUIRER, f"{self.number:02d}", CITY_CODE)

    @property
    def is_metro(self) -> bool:
        """Whether its rides have an entry and an exit."""
        return self.industry_code == METRO_INDUSTRY


_METRO = ((1, "一"), (2, "二"), (3, "三"), (4, "四"), (5, "五"), (7, "七"), (9, "九"), (11, "十一"))
_BUS = (
    ("bus-group", "巴士集团", "Bus Group"),
    ("bus-west", "西部公共汽车", "Western Buses"),
    ("bus-jinhuanan", "金华南巴士", "Jinhuanan Buses"),
    ("bus-huacheng", "华程交通", "Huacheng Transport"),
    ("bus-henggang", "横岗汽车运输", "Henggang Motor Transport"),
)

OPERATORS = tuple(
    Operator(number, *facts)
    for number, facts in enumerate(
        [
            *((f"metro-{line}", f"地铁{zh}号线", f"Metro Line {line}", METRO_INDUSTRY) for line, zh in _METRO),
            *((slug, zh, en, BUS_INDUSTRY) for slug, zh, en in _BUS),
        ],
        start=1,
    )
)
"""In the order of their numbers; a plan names them by their place here."""

SIGHTSEEING = Operator(14, "sightseeing", "观光巴士", "Sightseeing Bus", BUS_INDUSTRY)
"""Carries the one card whose life the demo tells, so that the day's figures stay those of the day."""


def metro_line(operator: Operator) -> int:
    """The line number of a metro operator, 1 to 11."""
    return _METRO[operator.number - 1][0]
