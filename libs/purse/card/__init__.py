"""The virtual card: a chip operating system in memory, light enough for a city of them in one process."""

from libs.purse.card.personalise import (
    Holder,
    application,
    bulk_card_keys,
    card_keys,
    ddf,
    issue_card,
    master,
    other_keys,
    personalise,
    public_data,
)
from libs.purse.card.profiles import BANK, CJ, JT, PROFILES, Profile, own_application
from libs.purse.card.state import Application, CardKeys, KeyUse, OtherKey, PurseState
from libs.purse.card.virtual import VirtualCard

__all__ = [
    "BANK",
    "CJ",
    "JT",
    "PROFILES",
    "Application",
    "CardKeys",
    "Holder",
    "KeyUse",
    "OtherKey",
    "Profile",
    "PurseState",
    "VirtualCard",
    "application",
    "bulk_card_keys",
    "card_keys",
    "ddf",
    "issue_card",
    "master",
    "other_keys",
    "own_application",
    "personalise",
    "public_data",
]
