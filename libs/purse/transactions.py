"""What each purse transaction feeds to its session key, MACs and TAC (purse-crypto.md, section 3). Bytes only, no keys.

`amount` and `balance` are 4 bytes, `limit` 3, `terminal` 6 (PSAM file 0016), `sequence` 4 (terminal seq), `stamp` 7
(date 4 and time 3, BCD), `counter` 2 as answered, before the increment.
"""

from enum import IntEnum

TAC_DATA_SIZE = 22
LOAD_TAC_DATA_SIZE = 24


class Tti(IntEnum):
    """Transaction type identifier (交易类型标识), purse-protocol.md, section 2."""

    ED_LOAD = 0x01
    EP_LOAD = 0x02
    ED_UNLOAD = 0x03
    ED_CASH_WITHDRAWAL = 0x04
    ED_PURCHASE = 0x05
    EP_PURCHASE = 0x06
    OVERDRAFT_CHANGE = 0x07
    CAPP_PURCHASE = 0x09


class PurseId(IntEnum):
    """Which purse of an application (purse-protocol.md, section 2, P2): an amount belongs to one by name, always."""

    ED = 0x01  # electronic deposit (电子存折)
    EP = 0x02  # electronic purse (电子钱包)


DEPOSIT_TTIS = frozenset({Tti.ED_LOAD, Tti.ED_UNLOAD, Tti.ED_CASH_WITHDRAWAL, Tti.ED_PURCHASE, Tti.OVERDRAFT_CHANGE})


def online_session_input(random: bytes, online_counter: bytes) -> bytes:
    """Session input of load, unload and overdraft change: `rnd4 || online counter2 || 8000`."""
    return random + online_counter + b"\x80\x00"


def offline_session_input(random: bytes, offline_counter: bytes, sequence: bytes) -> bytes:
    """Session input of purchases: `rnd4 || offline counter2 || terminal seq low 2`."""
    return random + offline_counter + sequence[2:]


def load_mac1_data(old_balance: bytes, amount: bytes, tti: int, terminal: bytes) -> bytes:
    """Load and unload, made by the card: 15 bytes."""
    return b"%b%b%c%b" % (old_balance, amount, tti, terminal)


def load_mac2_data(amount: bytes, tti: int, terminal: bytes, stamp: bytes) -> bytes:
    """Load and unload, made by the host: 18 bytes."""
    return b"%b%c%b%b" % (amount, tti, terminal, stamp)


def load_tac_data(
    new_balance: bytes, online_counter: bytes, amount: bytes, tti: int, terminal: bytes, stamp: bytes
) -> bytes:
    """TAC of a load, and MAC3 of an unload (with the session key): 24 bytes."""
    return b"%b%b%b%c%b%b" % (new_balance, online_counter, amount, tti, terminal, stamp)


def purchase_mac1_data(amount: bytes, tti: int, terminal: bytes, stamp: bytes) -> bytes:
    """Purchase, made by the PSAM: 18 bytes."""
    return b"%b%c%b%b" % (amount, tti, terminal, stamp)


def purchase_tac_data(amount: bytes, tti: int, terminal: bytes, sequence: bytes, stamp: bytes) -> bytes:
    """TAC of a purchase: 22 bytes. The card number is bound by the key only (section 3)."""
    return b"%b%c%b%b%b" % (amount, tti, terminal, sequence, stamp)


def overdraft_mac1_data(balance: bytes, old_limit: bytes, terminal: bytes) -> bytes:
    """Overdraft change, made by the card: 14 bytes."""
    return b"%b%b%c%b" % (balance, old_limit, Tti.OVERDRAFT_CHANGE, terminal)


def overdraft_tac_data(balance: bytes, online_counter: bytes, new_limit: bytes, terminal: bytes, stamp: bytes) -> bytes:
    """TAC of an overdraft change: 23 bytes. Sources disagree on the key: the same as of other TACs [convention]."""
    return b"%b%b%b%c%b%b" % (balance, online_counter, new_limit, Tti.OVERDRAFT_CHANGE, terminal, stamp)


def overdraft_mac2_data(new_limit: bytes, terminal: bytes, stamp: bytes) -> bytes:
    """Overdraft change, made by the host: 17 bytes."""
    return b"%b%c%b%b" % (new_limit, Tti.OVERDRAFT_CHANGE, terminal, stamp)


def m1_tac_data(
    *,
    sam_number: bytes,
    sequence: bytes,
    city: bytes,
    issue_serial: bytes,
    card_type: int,
    balance_before_fen: int,
    amount_fen: int,
    stamp: bytes,
    counter: int,
) -> bytes:
    """The 30 bytes that a terminal's PSAM signs for an M1 card (section 8); both sums are 3 bytes little-endian.

    Args:
        sam_number: 4 bytes.
        sequence: Terminal seq, 4 bytes.
        city: City code, 2 bytes.
        issue_serial: 4 bytes.
        card_type: One byte.
        balance_before_fen: Below 2**24.
        amount_fen: Below 2**24.
        stamp: Date and time, 7 bytes BCD.
        counter: The card's counter, below 65536.
    """
    balance, amount = balance_before_fen.to_bytes(3, "little"), amount_fen.to_bytes(3, "little")
    head = sam_number + sequence + city + issue_serial + bytes((card_type,))
    return head + balance + amount + stamp + counter.to_bytes(2, "big")
