"""`python -m services.blacklist serve | relay | migrate`."""

import sys

from libs.runtime.program import main
from libs.runtime.settings import load_settings
from services.blacklist.settings import BlacklistSettings
from services.blacklist.wiring import build_parts

if __name__ == "__main__":
    sys.exit(main("blacklist", lambda: load_settings(BlacklistSettings), build_parts))
