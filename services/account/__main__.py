"""`python -m services.account serve | relay | migrate`."""

import sys

from libs.runtime.program import main
from libs.runtime.settings import load_settings
from services.account.settings import AccountSettings
from services.account.wiring import build_parts

if __name__ == "__main__":
    sys.exit(main("account", lambda: load_settings(AccountSettings), build_parts))
