"""`VirtualIsam`: the load-side security module (ISAM) in memory, for an outlet or centre without a network HSM.

The standards at hand print no commands of an ISAM. The two here do in one module what purse-protocol.md, section 3.1,
asks of the centre's HSM [convention]:

| command | CLA INS P1 P2 | data | answer |
|---|---|---|---|
| INIT ISAM FOR LOAD | 80 74 00 00 | TTI 1, answer A 16, amount 4, terminal 6, date 4, time 3, factors 8n | MAC2(4) |
| CHECK LOAD TAC | 80 76 00 00 | TAC(4) | 9000, or 9302 |
"""

import hmac
from collections.abc import Callable, Iterable
from typing import ClassVar

from libs.keystore.handles import KeyKind
from libs.keystore.soft import SoftKeyStore
from libs.purse import apdu, status
from libs.purse.algorithms import algorithm
from libs.purse.apdu import Command
from libs.purse.crypto import MAC_SIZE
from libs.purse.fields import amount_bytes
from libs.purse.sam_keys import LEVELS_MAX, KeyRing, SamKey, SamKind, exported_keys
from libs.purse.scheme import Scheme
from libs.purse.sequence import FailureCount, MemoryFailures, SequenceStoreFailed
from libs.purse.transactions import (
    Tti,
    load_mac1_data,
    load_mac2_data,
    load_tac_data,
    online_session_input,
)

_HEAD_SIZE = 34
_LOADS = frozenset({Tti.EP_LOAD, Tti.ED_LOAD})
# A wrong MAC1 is a forged card or a line fault; thirty in a row are somebody at work [convention].
WRONG_MAC_MAX = 30


class VirtualIsam:
    """A module that holds load and TAC keys: it checks MAC1 before it makes MAC2, and the card's TAC afterwards.

    Args:
        keys: Load and TAC keys, found by version, algorithm and level.
        wrong_mac_max: Wrong MAC1s and TACs in a row before it locks.
        failures: Where that count survives a restart.
    """

    __slots__ = ("_expected", "_failures", "_keys", "_wrong_mac_max")

    def __init__(
        self, keys: Iterable[SamKey], *, wrong_mac_max: int = WRONG_MAC_MAX, failures: FailureCount | None = None
    ) -> None:
        self._keys = KeyRing(keys)
        self._wrong_mac_max = wrong_mac_max
        self._failures = failures or MemoryFailures()
        self._expected = b""

    def __repr__(self) -> str:
        return f"VirtualIsam({len(self._keys)} keys)"

    @property
    def locked(self) -> bool:
        """Too many wrong MACs in a row: the module computes nothing any more."""
        return self._failures.count >= self._wrong_mac_max

    def reset(self) -> None:
        """Power lost and found again."""
        self._expected = b""

    def transmit(self, command: bytes) -> bytes:
        """Answer one command APDU with response data and status word; any bytes are answered."""
        parsed = apdu.parse(command)
        if parsed is None:
            return status.WRONG_LENGTH
        serve = self._HANDLERS.get(parsed.ins)
        if serve is None:
            return status.WRONG_INS
        if parsed.cla != 0x80:
            return status.WRONG_CLA
        if parsed.p1 or parsed.p2:
            return status.WRONG_PARAMETERS
        expected, self._expected = self._expected, b""
        return status.KEY_LOCKED if self.locked else serve(self, parsed, expected)

    __call__ = transmit

    def _init_for_load(self, command: Command, _: bytes) -> bytes:
        data = command.data
        levels, rest = divmod(len(data) - _HEAD_SIZE, 8)
        if rest or not 1 <= levels <= LEVELS_MAX:
            return status.WRONG_LENGTH
        if command.le not in (None, 0, MAC_SIZE):
            return status.wrong_le(MAC_SIZE)
        tti, answer, amount, terminal, stamp = data[0], data[1:17], data[17:21], data[21:27], data[27:34]
        if tti not in _LOADS:
            return status.BAD_DATA
        balance, counter, version, algorithm_id = answer[:4], answer[4:6], answer[6], answer[7]
        load = self._keys.find(SamKind.LOAD, version, algorithm_id, levels)
        tac = self._keys.find(SamKind.TAC, version, algorithm_id, levels)
        if load is None or tac is None:
            return status.KEY_INDEX_UNSUPPORTED
        new_balance_fen = int.from_bytes(balance, "big") + int.from_bytes(amount, "big")
        if new_balance_fen > 0xFFFF_FFFF:
            return status.BAD_DATA
        cipher, factors = algorithm(algorithm_id), data[_HEAD_SIZE:]
        session_key = cipher.session_key(
            self._keys.card_key(load, factors), online_session_input(answer[8:12], counter)
        )
        mac1 = cipher.mac(session_key, load_mac1_data(balance, amount, tti, terminal))
        refusal = self._judged(hmac.compare_digest(mac1, answer[12:16]))
        if refusal:
            return refusal
        signed = load_tac_data(amount_bytes(new_balance_fen), counter, amount, tti, terminal, stamp)
        self._expected = cipher.tac(self._keys.card_key(tac, factors), signed)
        return cipher.mac(session_key, load_mac2_data(amount, tti, terminal, stamp)) + status.OK

    def _check_tac(self, command: Command, expected: bytes) -> bytes:
        if len(command.data) != MAC_SIZE:
            return status.WRONG_LENGTH
        if not expected:
            return status.NOT_IN_THIS_STATE
        return self._judged(hmac.compare_digest(expected, command.data)) or status.OK

    def _judged(self, right: bool) -> bytes:
        """Refusal for a wrong MAC, empty for a right one; the count is durable before anybody hears of it."""
        try:
            self._failures.record(0 if right else self._failures.count + 1)
        except SequenceStoreFailed:
            return status.MEMORY_FAILURE
        return b"" if right else status.PURSE_MAC_WRONG

    _HANDLERS: ClassVar[dict[int, "_Serve"]] = {0x74: _init_for_load, 0x76: _check_tac}


_Serve = Callable[[VirtualIsam, Command, bytes], bytes]
_KINDS = {KeyKind.LOAD: SamKind.LOAD, KeyKind.TAC: SamKind.TAC}


def issue_isam(
    store: SoftKeyStore, scheme: Scheme, issuer: bytes, *, failures: FailureCount | None = None
) -> VirtualIsam:
    """An ISAM for the cards of one issuer, with every load and TAC key that the store holds for it.

    Raises:
        KeyUseForbidden: The store's keys are not exportable.
    """
    return VirtualIsam(exported_keys(store, scheme, issuer, _KINDS), failures=failures)
