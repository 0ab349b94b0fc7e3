"""`python -m services.terminal_gw serve | relay | migrate`."""

import sys

from libs.runtime.program import main
from libs.runtime.settings import load_settings
from services.terminal_gw.settings import TerminalGatewaySettings
from services.terminal_gw.wiring import build_parts

if __name__ == "__main__":
    sys.exit(main("terminal_gw", lambda: load_settings(TerminalGatewaySettings), build_parts))
