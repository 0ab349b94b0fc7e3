"""The virtual card: a chip operating system in memory, light enough for a city of them in one process."""

from libs.purse.card.personalise import Holder, bulk_card_keys, card_keys, issue_card, personalise
from libs.purse.card.profiles import CJ, JT, PROFILES, Profile
from libs.purse.card.state import Application, CardKeys, PurseState
from libs.purse.card.virtual import VirtualCard

__all__ = [
    "CJ",
    "JT",
    "PROFILES",
    "Application",
    "CardKeys",
    "Holder",
    "Profile",
    "PurseState",
    "VirtualCard",
    "bulk_card_keys",
    "card_keys",
    "issue_card",
    "personalise",
]
