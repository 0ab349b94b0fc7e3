"""`python -m services.clearing serve | relay | migrate`."""

import sys

from libs.runtime.program import main
from libs.runtime.settings import load_settings
from services.clearing.settings import ClearingSettings
from services.clearing.wiring import build_parts

if __name__ == "__main__":
    sys.exit(main("clearing", lambda: load_settings(ClearingSettings), build_parts))
