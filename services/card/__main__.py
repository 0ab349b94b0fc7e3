"""`python -m services.card serve | relay | migrate`."""

import sys

from libs.runtime.program import main
from libs.runtime.settings import load_settings
from services.card.settings import CardSettings
from services.card.wiring import build_parts

if __name__ == "__main__":
    sys.exit(main("card", lambda: load_settings(CardSettings), build_parts))
