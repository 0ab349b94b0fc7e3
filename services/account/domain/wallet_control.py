"""What being a wallet means to an account."""

from enum import StrEnum


class WalletControl(StrEnum):
    """What an account's being a wallet forbids to postings that know nothing of wallets."""

    # No wallet.
    NONE = "none"
    # It is debited by the wallet's own calls only, which ask for grants; anyone may put something in.
    DEBITS = "debits"
    # Its parts are counted: every change is the wallet's own.
    ALL = "all"
